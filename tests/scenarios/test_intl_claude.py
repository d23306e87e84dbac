"""intl_claude from the scan to the close, over the real moomoo client at a simulated OpenD in a process of its own."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from shared.models import OrderStatus, OrderType, Side, TimeInForce
from tests.fixtures.intl_claude import IntlClaude
from tests.fixtures.rehearsal import Run
from tests.simulators.opend.wire import Protocol, Wire, WireFault

MONDAY, HALF_DAY, HOLIDAY = (2026, 12, 21), (2026, 12, 24), (2026, 12, 25)


def at(hour: int, minute: int, day: tuple[int, int, int] = MONDAY) -> datetime:
    """Return a time in Hong Kong."""
    return datetime(*day, hour - 8, minute, tzinfo=UTC)


def test_a_morning_from_the_scan_to_a_flat_close_before_lunch(watched_intl: IntlClaude) -> None:
    venue = watched_intl.venue
    scan = watched_intl.run("scan", "--force")
    trade = watched_intl.run("trade")
    bought = watched_intl.held()
    sent = venue.orders()
    entries = watched_intl.rows(
        "SELECT symbol, status, filled_quantity, stop_loss, take_profit FROM orders"
        " WHERE side = 'buy'"
    )
    again = watched_intl.run("trade")
    watched_intl.go_to(at(11, 50))
    seen = watched_intl.watch()
    close = watched_intl.run("close")
    closed = watched_intl.rows(
        "SELECT symbol, status, realized_pnl, realized_pnl_gross FROM positions"
    )

    assert (scan.exit_code, trade.exit_code) == (0, 0)
    assert trade.said["orders"] >= 1
    assert bought
    assert {row["symbol"]: row["filled_quantity"] for row in entries} == bought
    assert all(row["stop_loss"] and row["take_profit"] for row in entries)
    assert {(one.order_type, one.time_in_force) for one in sent} == {
        (OrderType.LIMIT, TimeInForce.DAY)
    }
    assert (again.exit_code, again.said["status"]) == (0, "nothing_to_do")
    assert again.said["reason"] == "the trade slot of 02:00 UTC has been run"
    assert seen.exit_code == 0
    assert (close.exit_code, close.said["status"]) == (0, "done"), close.said["reason"]
    assert watched_intl.held() == {}
    assert {row["status"] for row in closed} == {"closed"}
    assert all(row["realized_pnl"] < row["realized_pnl_gross"] for row in closed)
    assert [order for order in venue.orders() if order.status.is_open] == []


def test_what_was_filled_and_charged_is_what_the_exchange_has(holding_intl: IntlClaude) -> None:
    holding_intl.go_to(at(11, 50))
    assert holding_intl.run("close").exit_code == 0
    fills = holding_intl.rows(
        "SELECT symbol, side, sum(quantity)::integer AS quantity, sum(quantity * price) AS value"
        " FROM fills GROUP BY symbol, side"
    )
    fees = holding_intl.rows("SELECT name, sum(amount) AS amount FROM fill_fees GROUP BY name")
    real = {(one.symbol, one.side): [0, Decimal(0)] for one in holding_intl.venue.fills()}
    for one in holding_intl.venue.fills():
        real[one.symbol, one.side][0] += one.quantity
        real[one.symbol, one.side][1] += one.quantity * one.price
    charged: dict[str, Decimal] = {}
    for one in holding_intl.venue.fills():
        for fee in one.fees:
            charged[fee.name] = charged.get(fee.name, Decimal(0)) + fee.amount

    assert {(row["symbol"], row["side"]): [row["quantity"], row["value"]] for row in fills} == real
    assert {row["name"]: row["amount"] for row in fees} == charged
    assert {"stamp_duty", "commission", "sfc_levy", "trading_fee", "settlement_fee"} <= set(charged)


def test_the_monitor_is_the_stop(holding_intl: IntlClaude) -> None:
    """A price at the stop is sold at once by the monitor, and only there."""
    symbol, quantity = next(iter(holding_intl.held().items()))
    [row] = holding_intl.rows(
        f"SELECT stop_loss FROM positions WHERE symbol = '{symbol}'"  # noqa: S608 (our own symbol)
    )
    assert holding_intl.watch().said["left"] == []

    holding_intl.venue.trade(row["stop_loss"] * Decimal("0.995"), symbol=symbol, volume=1_000_000)
    first = holding_intl.watch()
    holding_intl.venue.trade(row["stop_loss"] * Decimal("0.995"), symbol=symbol, volume=1_000_000)
    holding_intl.watch()
    sales = [
        one for one in holding_intl.venue.orders() if (one.symbol, one.side) == (symbol, Side.SELL)
    ]

    assert symbol in first.said["left"]
    assert [(one.quantity, one.status) for one in sales] == [(quantity, OrderStatus.FILLED)]
    assert symbol not in holding_intl.held()


def test_nothing_is_sent_at_lunch_and_the_afternoon_goes_on(holding_intl: IntlClaude) -> None:
    holding_intl.go_to(at(11, 50))
    assert holding_intl.run("close").exit_code == 0
    sent = len(holding_intl.venue.orders())
    holding_intl.venue.move_to(at(12, 30))
    watching, trading = holding_intl.watch(), holding_intl.run("trade")
    at_lunch = len(holding_intl.venue.orders())
    holding_intl.go_to(at(13, 30))
    holding_intl.watch()
    afternoon = holding_intl.run("trade")
    holding_intl.go_to(at(15, 50))
    close = holding_intl.run("close")

    assert (watching.exit_code, trading.exit_code) == (0, 0)
    assert trading.said["status"] == "nothing_to_do"
    assert at_lunch == sent
    assert (afternoon.exit_code, afternoon.said["status"]) == (0, "done"), afternoon.said
    assert (close.exit_code, holding_intl.held()) == (0, {}), close.said


def test_a_half_day_is_closed_before_noon_and_nothing_is_due_after_it(
    intl_claude: IntlClaude,
) -> None:
    intl_claude.venue.move_to(at(8, 50, HALF_DAY))
    early = intl_claude.compare("--scheduled")
    intl_claude.go_to(at(10, 0, HALF_DAY))
    intl_claude.watch()
    trade = intl_claude.run("trade")
    intl_claude.go_to(at(11, 50, HALF_DAY))
    close = intl_claude.run("close")
    held = intl_claude.held()
    intl_claude.venue.move_to(at(13, 30, HALF_DAY))
    after, monitor = intl_claude.run("trade"), intl_claude.watch()

    assert (early.exit_code, early.said["verdict"]) == (0, "clean"), early.said
    assert (trade.exit_code, trade.said["status"]) == (0, "done"), trade.said
    assert (close.exit_code, held) == (0, {}), close.said
    assert after.said["status"] == "nothing_to_do"
    assert monitor.said["status"] == "nothing_to_do"


def test_r15_on_a_holiday_no_program_sends_anything(intl_claude: IntlClaude) -> None:
    intl_claude.venue.move_to(at(10, 0, HOLIDAY))
    intl_claude.venue.requests(forget=True)
    runs = [
        *(intl_claude.run(mode) for mode in ("scan", "trade", "close", "heartbeat")),
        intl_claude.watch(),
        intl_claude.compare("--scheduled"),
    ]

    assert {(run.exit_code, run.said["status"]) for run in runs} == {(0, "nothing_to_do")}
    assert {run.said["reason"] for run in runs[:5]} == {"XHKG has no session today"}
    assert intl_claude.venue.requests() == []


def refused(run: Run, code: int, sentence: str) -> None:
    assert run.exit_code == code, run.said
    assert sentence in run.said["reason"]


def nothing_was_ordered(agent: IntlClaude) -> None:
    assert agent.venue.orders() == ()
    assert agent.venue.asked(Protocol.PLACE_ORDER) == []


@pytest.mark.parametrize("program", ["trade", "compare", "watch"])
def test_an_opend_that_is_not_there_is_one_sentence_with_what_to_start(
    intl_claude: IntlClaude, program: str
) -> None:
    intl_claude.venue.listen(listens=False)
    run = intl_claude.run("trade") if program == "trade" else getattr(intl_claude, program)()

    assert "OpenD does not answer at 127.0.0.1" in run.said["reason"]
    assert "start it and see that it is logged in" in run.said["reason"]
    assert run.exit_code == (0 if program == "watch" else 1)


def test_an_opend_that_lost_its_login_says_so(watched_intl: IntlClaude) -> None:
    watched_intl.venue.log_in(logged_in=False)
    run = watched_intl.run("trade")

    refused(run, 1, "not logged in")
    nothing_was_ordered(watched_intl)


def test_the_account_is_pinned(watched_intl: IntlClaude) -> None:
    [row] = watched_intl.rows("SELECT account_id, environment FROM account_pins")

    assert row["environment"] == "paper"
    assert {one["header"]["accID"] for one in watched_intl.venue.asked(Protocol.GET_FUNDS)} == {
        row["account_id"]
    }


def test_a_monitor_that_is_silent_forbids_entries(watched_intl: IntlClaude) -> None:
    watched_intl.wait(minutes=1, seconds=1)
    run = watched_intl.run("trade")

    assert run.exit_code == 0
    assert "MONITOR_SILENT" in run.said["refusals"]
    nothing_was_ordered(watched_intl)


def test_a_broker_that_knows_another_half_day_buys_nothing(watched_intl: IntlClaude) -> None:
    watched_intl.venue.inject(
        WireFault(
            wire=Wire.CHANGE,
            protocol=Protocol.REQUEST_TRADE_DATE,
            fields={"tradeDateType": 1},
            times=None,
        )
    )
    run = watched_intl.run("trade")

    assert "OTHER_HOURS" in run.said["refusals"]
    assert "calendar and broker disagree about 2026-12-21" in watched_intl.alerts()
    nothing_was_ordered(watched_intl)


def test_a_tick_that_contradicts_the_table_keeps_entries_back_and_no_sale(
    holding_intl: IntlClaude,
) -> None:
    holding_intl.venue.inject(
        WireFault(
            wire=Wire.CHANGE,
            protocol=Protocol.GET_SECURITY_SNAPSHOT,
            fields={"priceSpread": 0.3},
            times=None,
        )
    )
    placed = len(holding_intl.venue.orders())
    holding_intl.go_to(at(11, 0))
    holding_intl.watch()
    run = holding_intl.run("trade")
    bought = len(holding_intl.venue.orders()) - placed
    holding_intl.go_to(at(11, 50))
    close = holding_intl.run("close")

    assert "LOT_OR_TICK_IN_DOUBT" in run.said["refusals"], run.said
    assert bought == 0
    assert (close.exit_code, holding_intl.held()) == (0, {}), close.said
