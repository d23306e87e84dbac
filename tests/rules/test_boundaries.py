"""Every bound of every rule: approved exactly on it, refused by the smallest step beyond."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

import safety
from rules.codes import Code
from shared.models import OrderRequest, OrderStatus, Position, Refusal, Snapshot, Verdict
from tests.builders import (
    CLOSE,
    NOW,
    OPEN,
    SESSION,
    account,
    entry,
    limits,
    order,
    position,
    quote,
    sale,
    snapshot,
)

MICROSECOND = timedelta(microseconds=1)


def codes(
    request: OrderRequest, world: Snapshot, now: datetime = NOW, **bounds: object
) -> tuple[str, ...]:
    verdict = safety.review(request, world, limits(**bounds), now)
    return verdict.codes if isinstance(verdict, Refusal) else ()


def at(now: datetime, world: Snapshot | None = None) -> Snapshot:
    return replace(world or snapshot(), taken_at=now, quotes={"ACME": quote(at=now)})


class TestTheEdgesOfASession:
    @pytest.mark.parametrize(
        ("now", "expected"),
        [
            (OPEN, (Code.TOO_EARLY,)),
            (OPEN + timedelta(minutes=5) - MICROSECOND, (Code.TOO_EARLY,)),
            (OPEN + timedelta(minutes=5), ()),
            (CLOSE - timedelta(minutes=20) - MICROSECOND, ()),
            (CLOSE - timedelta(minutes=20), (Code.TOO_LATE,)),
            (CLOSE - MICROSECOND, (Code.TOO_LATE,)),
        ],
    )
    def test_forbid_entries(self, now: datetime, expected: tuple[Code, ...]) -> None:
        assert codes(entry(), at(now), now) == expected

    def test_are_those_of_each_part_around_lunch(self) -> None:
        noon = OPEN + timedelta(hours=2)
        lunch = replace(SESSION, parts=((OPEN, noon), (noon + timedelta(hours=1), CLOSE)))
        before, after = noon - timedelta(minutes=10), noon + timedelta(minutes=61)

        assert codes(entry(), at(before, snapshot(session=lunch)), before) == (Code.TOO_LATE,)
        assert codes(entry(), at(after, snapshot(session=lunch)), after) == (Code.TOO_EARLY,)


class TestTheSpread:
    def test_may_be_exactly_the_limit(self) -> None:
        world = snapshot(quotes={"ACME": quote(bid=Decimal("99.75"), ask=Decimal("100.25"))})

        assert codes(entry(), world) == ()

    def test_may_not_be_a_cent_wider(self) -> None:
        world = snapshot(quotes={"ACME": quote(bid=Decimal("99.74"), ask=Decimal("100.25"))})

        assert codes(entry(), world) == (Code.SPREAD,)


class TestTheStop:
    def test_may_be_as_wide_as_the_limit_and_not_a_tick_wider(self) -> None:
        wide = entry(stop_loss=Decimal("95.00"), take_profit=Decimal("110.00"))

        assert codes(wide, snapshot()) == ()
        assert codes(
            replace(wide, stop_loss=Decimal("94.99"), take_profit=Decimal(111)), snapshot()
        ) == (Code.STOP_TOO_WIDE,)

    def test_is_two_ticks_away_at_least(self) -> None:
        world = snapshot(quotes={"ACME": quote(bid=Decimal("99.99"), ask=Decimal("100.01"))})
        near = entry(stop_loss=Decimal("99.98"))

        assert codes(near, world) == ()
        assert codes(near, world, min_stop_ticks=3) == (Code.STOP_TOO_NEAR,)


class TestShareOfEquity:
    def test_of_a_position(self) -> None:
        world = snapshot(account=account(equity=Decimal(5000)), session_start_equity=Decimal(5000))

        assert codes(entry(), world) == ()
        assert codes(entry(quantity=11), world) == (Code.POSITION_SHARE,)

    def test_at_risk(self) -> None:
        world = snapshot(account=account(equity=Decimal(2000)), session_start_equity=Decimal(2000))
        whole = Decimal(100)

        assert codes(entry(), world, max_position_equity_pct=whole) == ()
        assert codes(
            entry(stop_loss=Decimal("97.99"), take_profit=Decimal("104.02")),
            world,
            max_position_equity_pct=whole,
        ) == (Code.TRADE_RISK,)

    def test_of_everything_held_and_on_order(self) -> None:
        held = position("OTHER", 400)
        pending = order(symbol="THIRD", quantity=590)
        world = snapshot(positions=(held,), open_orders=(pending,))

        assert codes(entry(), world) == ()
        assert codes(entry(quantity=11), world) == (Code.GROSS_EXPOSURE,)

    def test_counts_what_was_bought_by_hand_and_what_fell_at_its_cost(self) -> None:
        by_hand = replace(
            position("OTHER", 995), market_price=Decimal(1), average_price=Decimal(100)
        )

        assert codes(entry(), snapshot(positions=(by_hand,))) == (Code.GROSS_EXPOSURE,)

    def test_knows_no_market_price_and_takes_the_cost(self) -> None:
        unpriced: Position = replace(position("OTHER", 995), market_price=None)

        assert codes(entry(), snapshot(positions=(unpriced,))) == (Code.GROSS_EXPOSURE,)


class TestTheBooks:
    @pytest.mark.parametrize(
        ("verdict", "expected"),
        [
            (Verdict.CLEAN, ()),
            (Verdict.LOCKED, ()),
            (Verdict.UNREADABLE, (Code.NO_VERDICT,)),
            (None, (Code.NO_VERDICT,)),
        ],
    )
    def test_have_to_be_compared_in_this_session(
        self, verdict: Verdict | None, expected: tuple[Code, ...]
    ) -> None:
        assert codes(entry(), snapshot(verdict=verdict)) == expected

    def test_lock_one_symbol_and_no_other(self) -> None:
        reason = "the broker shows 20 shares"

        assert codes(entry(), snapshot(locked={"OTHER": reason})) == ()
        assert codes(entry(), snapshot(locked={"ACME": reason})) == (Code.SYMBOL_LOCKED,)

    @pytest.mark.parametrize(
        ("symbol", "status", "expected"),
        [
            ("ACME", OrderStatus.CANCEL_PENDING, (Code.UNRESOLVED_ORDER,)),
            ("ACME", OrderStatus.ACCEPTED, ()),
            ("OTHER", OrderStatus.CANCEL_PENDING, ()),
        ],
    )
    def test_have_no_entry_in_the_symbol_whose_cancel_is_not_confirmed(
        self, symbol: str, status: OrderStatus, expected: tuple[Code, ...]
    ) -> None:
        resting = order(symbol=symbol, status=status, quantity=1)
        world = snapshot(open_orders=(resting,), quotes={"ACME": quote(), symbol: quote(symbol)})

        assert codes(entry(), world) == expected

    def test_keep_nobody_in_a_position(self) -> None:
        world = snapshot(positions=(position(),), verdict=None, locked={"ACME": "anything"})

        assert codes(sale(), world) == ()


class TestTheDay:
    def test_may_lose_up_to_a_cent_less_than_the_limit(self) -> None:
        start = {"session_start_equity": Decimal(100_000)}

        assert codes(entry(), snapshot(account=account(equity=Decimal("98000.01")), **start)) == ()
        assert codes(entry(), snapshot(account=account(equity=Decimal(98_000)), **start)) == (
            Code.DAILY_LOSS,
        )

    @pytest.mark.parametrize("start", [None, Decimal("NaN")])
    def test_whose_start_is_not_known_is_lost(self, start: Decimal | None) -> None:
        assert codes(entry(), snapshot(session_start_equity=start)) == (Code.DAILY_LOSS,)

    def test_has_a_number_of_entries_over_all_symbols_and_cycles(self) -> None:
        used = {f"S{n}": 1 for n in range(19)}

        assert codes(entry(), snapshot(entries_today=used)) == ()
        assert codes(entry(), snapshot(entries_today=used | {"S19": 1})) == (Code.TRADES_PER_DAY,)

    def test_has_a_number_of_entries_in_one_symbol(self) -> None:
        assert codes(entry(), snapshot(entries_today={"ACME": 2})) == ()
        assert codes(entry(), snapshot(entries_today={"ACME": 3})) == (Code.TRADES_PER_SYMBOL,)

    def test_lets_a_symbol_cool_down_after_a_loss(self) -> None:
        hour = timedelta(minutes=60)

        assert codes(entry(), snapshot(last_loss_at={"ACME": NOW - hour})) == ()
        assert codes(entry(), snapshot(last_loss_at={"OTHER": NOW})) == ()
        assert codes(entry(), snapshot(last_loss_at={"ACME": NOW - hour + MICROSECOND})) == (
            Code.COOL_DOWN,
        )

    def test_keeps_a_share_of_its_budget_for_exits(self) -> None:
        kept = {"budget_kept_for_exits_usd": Decimal(1)}

        assert codes(entry(), snapshot(budget_left_usd=Decimal("1.01"), **kept)) == ()
        assert codes(entry(), snapshot(budget_left_usd=Decimal(1), **kept)) == (Code.BUDGET,)
        assert codes(entry(), snapshot(budget_left_usd=None, **kept)) == ()


class TestTheMonitorsSilence:
    def test_may_be_exactly_as_long_as_allowed(self) -> None:
        world = snapshot(
            check_needed_within_seconds=60.0, last_check_at=NOW - timedelta(seconds=60)
        )

        assert codes(entry(), world) == ()

    def test_may_not_be_a_microsecond_longer(self) -> None:
        world = snapshot(
            check_needed_within_seconds=60.0,
            last_check_at=NOW - timedelta(seconds=60) - MICROSECOND,
        )

        assert codes(entry(), world) == (Code.MONITOR_SILENT,)
        assert codes(sale(), replace(world, positions=(position("ACME", 10),))) == ()

    def test_is_total_where_no_monitor_ever_ran(self) -> None:
        assert codes(entry(), snapshot(check_needed_within_seconds=60.0)) == (Code.MONITOR_SILENT,)

    def test_does_not_matter_where_nobody_has_to_watch(self) -> None:
        assert codes(entry(), snapshot(last_check_at=None)) == ()
