from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.base import Baseline
from market.recorded import RecordedFeed
from market.recording import Recording
from market.scanner import Basis, ScanOutcome, expected_volume_share, scan
from shared.clock import ManualClock
from shared.models import (
    Bar,
    Instrument,
    InstrumentKind,
    Quote,
    QuoteSource,
    SessionHours,
    TickBand,
)

OPENS = datetime(2026, 6, 15, 13, 30, tzinfo=UTC)
SESSION = SessionHours(
    exchange="XNYS",
    session_date=date(2026, 6, 15),
    parts=((OPENS, OPENS + timedelta(minutes=390)),),
)
NOW = OPENS + timedelta(minutes=30)
BASELINE = Baseline(
    previous_close=Decimal(100), previous_change_pct=Decimal(2), average_daily_volume=390_000
)


def instrument(symbol: str = "QAAA", *, tradable: bool = True) -> Instrument:
    return Instrument(
        symbol=symbol,
        name=f"{symbol} (invented)",
        exchange="XNYS",
        currency="USD",
        kind=InstrumentKind.STOCK,
        lot_size=1,
        ticks=(TickBand(from_price=Decimal(0), tick=Decimal("0.01")),),
        tradable=tradable,
    )


def quote(symbol: str = "QAAA", last: str = "102.00", *, half: str = "0.01") -> Quote:
    price = Decimal(last)
    return Quote(
        symbol=symbol,
        at=NOW,
        bid=price - Decimal(half),
        ask=price + Decimal(half),
        last=price,
        source=QuoteSource.MODELLED,
        previous_close=Decimal(100),
    )


def bar(
    symbol: str = "QAAA", *, minute: int = 0, opened: str = "101.00", volume: int = 1000
) -> Bar:
    start = OPENS + timedelta(minutes=minute)
    price = Decimal(opened)
    return Bar(
        symbol=symbol,
        start=start,
        end=start + timedelta(minutes=1),
        open=price,
        high=price,
        low=price,
        close=price,
        volume=volume,
    )


def scanned(
    quotes: list[Quote],
    *,
    instruments: list[Instrument] | None = None,
    bars: list[Bar] | None = None,
    baseline: Baseline | None = BASELINE,
    session: SessionHours | None = SESSION,
    now: datetime = NOW,
    limit: int = 10,
) -> ScanOutcome:
    known = instruments or [instrument(one.symbol) for one in quotes]
    traded = bars if bars is not None else [bar(one.symbol) for one in quotes]
    return scan(
        quotes={one.symbol: one for one in quotes},
        instruments={one.symbol: one for one in known},
        bars={one.symbol: (one,) for one in traded},
        baselines={one.symbol: baseline for one in known if baseline is not None},
        session=session,
        now=now,
        limit=limit,
        max_quote_age_seconds=60,
    )


def test_a_candidate_carries_the_documented_numbers() -> None:
    expected = expected_volume_share(SESSION, NOW)
    relative = 10_000 / (390_000 * expected)

    found = scanned([quote()], bars=[bar(volume=10_000)]).candidates[0]

    assert (found.rank, found.symbol, found.basis) == (1, "QAAA", Basis.TODAY)
    assert found.price == Decimal("102.00")
    assert found.change_pct == Decimal("2.00")
    assert found.change_from_open_pct == Decimal("0.99")
    assert found.session_volume == 10_000
    assert found.relative_volume == round(relative, 2)
    assert found.spread_pct == Decimal("0.02")
    from_open = (Decimal(102) / 101 - 1) * 100
    spread = Decimal("0.02") / 102 * 100
    assert found.score == round(
        35 * Decimal(2) / 5 + 15 * from_open / 3 + 30 * relative / 3 + 20 * (1 - spread * 2), 2
    )


def test_the_stronger_the_more_traded_and_the_tighter_rank_higher() -> None:
    strong, weak = quote("QAAA", "104.00"), quote("QBBB", "101.50")
    assert [c.symbol for c in scanned([weak, strong]).candidates] == ["QAAA", "QBBB"]

    busy = [bar("QAAA", volume=100), bar("QBBB", volume=30_000)]
    assert scanned([quote("QAAA"), quote("QBBB")], bars=busy).candidates[0].symbol == "QBBB"

    tight = [quote("QAAA", half="0.20"), quote("QBBB", half="0.01")]
    assert scanned(tight).candidates[0].symbol == "QBBB"


def test_equal_scores_go_by_symbol_and_the_limit_cuts() -> None:
    found = scanned([quote("QCCC"), quote("QAAA"), quote("QBBB")], limit=2)

    assert [(c.rank, c.symbol) for c in found.candidates] == [(1, "QAAA"), (2, "QBBB")]


def test_without_a_baseline_change_and_relative_volume_are_none() -> None:
    found = scanned([replace(quote(), previous_close=None)], baseline=None).candidates[0]

    assert found.change_pct is None
    assert found.relative_volume is None
    assert found.change_from_open_pct == Decimal("0.99")


def test_an_index_without_volume_has_no_relative_volume() -> None:
    no_volume = replace(BASELINE, average_daily_volume=0)

    assert scanned([quote()], baseline=no_volume).candidates[0].relative_volume is None


@pytest.mark.parametrize(
    ("quotes", "instruments", "bars", "reason"),
    [
        ([quote()], [instrument("QBBB")], None, "unknown_instrument"),
        ([quote()], [instrument(tradable=False)], None, "not_tradable"),
        ([replace(quote(), halted=True, bid=None, ask=None)], None, None, "halted"),
        ([], [instrument()], None, "no_quote"),
        ([replace(quote(), bid=None)], None, None, "one_sided_quote"),
        ([replace(quote(), ask=None)], None, None, "one_sided_quote"),
        ([replace(quote(), at=NOW - timedelta(seconds=61))], None, None, "stale_quote"),
        ([quote()], None, [], "not_traded_today"),
        ([quote()], None, [bar(minute=-1)], "not_traded_today"),
    ],
)
def test_a_symbol_that_cannot_be_bought_now_is_left_out_with_the_reason(
    quotes: list[Quote], instruments: list[Instrument] | None, bars: list[Bar] | None, reason: str
) -> None:
    outcome = scanned(quotes, instruments=instruments, bars=bars)

    assert outcome.candidates == ()
    assert outcome.excluded[reason] == 1
    assert outcome.why_empty is not None
    assert reason.replace("_", " ") in outcome.why_empty


def test_without_bars_the_quote_tells_of_the_session() -> None:
    told = replace(quote(), session_open=Decimal("101.00"), session_volume=10_000)

    by_quote = scanned([told], bars=[])
    by_bars = scanned([quote()], bars=[bar(volume=10_000)])

    assert by_quote.candidates == by_bars.candidates
    for silent in (replace(told, session_open=None), replace(told, session_volume=0)):
        assert scanned([silent], bars=[]).excluded == {"not_traded_today": 1}


def test_before_the_open_the_session_before_is_ranked() -> None:
    known = [instrument("QAAA"), instrument("QBBB"), instrument("QCCC")]
    changes = {"QAAA": Decimal(1), "QBBB": Decimal(3)}

    outcome = scan(
        quotes={},
        instruments={one.symbol: one for one in known},
        bars={},
        baselines={s: replace(BASELINE, previous_change_pct=c) for s, c in changes.items()},
        session=SESSION,
        now=OPENS - timedelta(minutes=30),
        limit=5,
    )

    assert [c.symbol for c in outcome.candidates] == ["QBBB", "QAAA"]
    first = outcome.candidates[0]
    assert (first.basis, first.price) == (Basis.PREVIOUS_SESSION, Decimal(100))
    assert (first.change_pct, first.session_volume) == (Decimal("3.00"), 0)
    assert first.spread_pct is None
    assert outcome.excluded == {"no_baseline": 1}


def test_before_the_open_without_baselines_the_scan_says_why_it_is_empty() -> None:
    outcome = scanned([quote()], baseline=None, now=OPENS - timedelta(minutes=30))

    assert outcome.why_empty == "none of 1 symbols can be ranked: 1 no baseline"


@pytest.mark.parametrize(
    ("session", "now"), [(None, NOW), (SESSION, SESSION.closes_at)], ids=["none", "over"]
)
def test_without_a_session_to_come_the_scan_says_so(
    session: SessionHours | None, now: datetime
) -> None:
    outcome = scanned([quote()], session=session, now=now)

    assert outcome.why_empty == "no session is open or still to come today"


def test_a_feed_without_symbols_or_a_limit_of_nothing_is_named() -> None:
    assert scanned([]).why_empty == "the feed knows no symbol"
    assert scanned([quote()], limit=0).why_empty == "no candidate was asked for: the limit was 0"


@pytest.mark.parametrize(("minute", "share"), [(0, 0), (195, Decimal("0.5")), (390, 1)])
def test_the_expected_share_of_volume_runs_from_nothing_to_all(minute: int, share: Decimal) -> None:
    assert expected_volume_share(SESSION, OPENS + timedelta(minutes=minute)) == share


def test_the_lunch_break_adds_nothing_to_the_expected_share() -> None:
    lunch = replace(
        SESSION,
        parts=(
            (OPENS, OPENS + timedelta(minutes=150)),
            (OPENS + timedelta(minutes=210), OPENS + timedelta(minutes=390)),
        ),
    )
    begins, ends = (expected_volume_share(lunch, OPENS + timedelta(minutes=m)) for m in (150, 210))

    assert begins == ends


@settings(deadline=None)
@given(
    st.lists(st.decimals("0.5", "500", places=2), min_size=1, max_size=8),
    st.integers(0, 10),
    st.integers(0, 390),
)
def test_a_scan_is_ordered_bounded_and_accounts_for_every_symbol(
    prices: list[Decimal], limit: int, minute: int
) -> None:
    now = OPENS + timedelta(minutes=minute)
    quotes = [
        replace(quote(f"Q{number:03d}", str(price)), at=now) for number, price in enumerate(prices)
    ]

    outcome = scanned(quotes, now=now, limit=limit)

    scores = [candidate.score for candidate in outcome.candidates]
    assert scores == sorted(scores, reverse=True)
    assert all(-50 <= score <= 100 for score in scores)
    assert [c.rank for c in outcome.candidates] == list(range(1, len(scores) + 1))
    assert (outcome.why_empty is None) == bool(scores)
    if minute < 390:
        ranked = len(prices) - sum(outcome.excluded.values())
        assert len(scores) == min(limit, ranked)


async def test_a_generated_session_has_momentum_to_find(generated_recording: Recording) -> None:
    feed = RecordedFeed(generated_recording, ManualClock(NOW))
    symbols = await feed.symbols()

    outcome = scan(
        quotes=await feed.quotes(symbols),
        instruments={
            s: known for s in symbols if (known := generated_recording.instrument(s)) is not None
        },
        bars=await feed.bars(symbols, start=OPENS, end=NOW),
        baselines=await feed.baselines(symbols),
        session=SESSION,
        now=NOW,
        limit=5,
    )

    assert len(outcome.candidates) == 5
    assert outcome.candidates[0].change_pct is not None
    assert outcome.candidates[0].change_pct > 2
    assert outcome.excluded["not_tradable"] == 1
