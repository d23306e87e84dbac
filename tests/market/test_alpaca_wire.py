from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from market import alpaca_wire as wire
from market import calendar as calendars
from market.daily import baseline
from shared.models import QuoteSource
from shared.unreadable import Unreadable

NOW = datetime(2026, 6, 16, 15, 0, tzinfo=UTC)
BEFORE_OPEN = datetime(2026, 6, 16, 13, 0, tzinfo=UTC)
CALENDAR = calendars.load("XNYS")


def quoted(**changes: Any) -> dict[str, Any]:
    made = {
        "t": "2026-06-16T14:59:58.123456789Z",
        "ax": "V",
        "ap": 27.09,
        "as": 300,
        "bx": "V",
        "bp": 27.07,
        "bs": 200,
        "c": ["R"],
        "z": "B",
    }
    return {**made, **changes}


def traded(**changes: Any) -> dict[str, Any]:
    made = {
        "t": "2026-06-16T14:59:30Z",
        "x": "V",
        "p": 27.08,
        "s": 100,
        "c": ["@"],
        "i": 7,
        "z": "B",
    }
    return {**made, **changes}


def bar(t: str, **changes: Any) -> dict[str, Any]:
    made = {"t": t, "o": 26.5, "h": 27.5, "l": 26.25, "c": 27, "v": 4000, "n": 40, "vw": 26.91}
    return {**made, **changes}


def snapshot(**changes: Any) -> dict[str, Any]:
    made = {
        "latestTrade": traded(),
        "latestQuote": quoted(),
        "minuteBar": bar("2026-06-16T14:58:00Z"),
        "dailyBar": bar("2026-06-16T04:00:00Z", o=26.6, v=91_000),
        "prevDailyBar": bar("2026-06-15T04:00:00Z", c=26.3),
    }
    return {**made, **changes}


def article(**changes: Any) -> dict[str, Any]:
    made = {
        "id": 40_001,
        "headline": "Maker raises its outlook",
        "author": "A. Writer",
        "created_at": "2026-06-16T14:00:00Z",
        "updated_at": "2026-06-16T14:05:00Z",
        "summary": "It expects more.",
        "content": "",
        "url": None,
        "images": [],
        "symbols": ["QXA", "QXB"],
        "source": "benzinga",
    }
    return {**made, **changes}


def read_quote(now: datetime = NOW, **changes: Any):
    return wire.quote("QXA", snapshot(**changes), now=now, calendar=CALENDAR)


def test_a_quote_has_both_sides_with_their_own_time_and_exact_prices() -> None:
    quote = read_quote()

    assert quote is not None
    assert quote.at == datetime(2026, 6, 16, 14, 59, 58, 123456, tzinfo=UTC)
    assert (quote.bid, quote.ask, quote.last) == (
        Decimal("27.07"),
        Decimal("27.09"),
        Decimal("27.08"),
    )
    assert (quote.bid_size, quote.ask_size) == (200, 300)
    assert (quote.session_open, quote.session_volume) == (Decimal("26.6"), 91_000)
    assert quote.previous_close == Decimal("26.3")
    assert quote.source is QuoteSource.QUOTED
    assert not quote.halted


@pytest.mark.parametrize(
    "sides", [{"bp": 0}, {"ap": 0}, {"bp": 0, "ap": 0}, {"bp": 27.10}], ids=str
)
def test_a_missing_side_and_a_crossed_quote_are_no_quote(sides: dict[str, Any]) -> None:
    quote = read_quote(latestQuote=quoted(**sides))

    assert quote is not None
    assert (quote.bid, quote.ask, quote.bid_size, quote.ask_size) == (None, None, None, None)
    assert (quote.last, quote.at) == (Decimal("27.08"), NOW - timedelta(seconds=30))


def test_a_locked_quote_is_a_quote() -> None:
    quote = read_quote(latestQuote=quoted(bp=27.09))

    assert quote is not None
    assert quote.bid == quote.ask == Decimal("27.09")


def test_an_old_quote_keeps_its_age() -> None:
    quote = read_quote(latestQuote=quoted(t="2026-06-16T14:10:00Z"))

    assert quote is not None
    assert quote.at == NOW - timedelta(minutes=50)


def test_a_trade_much_older_than_the_sides_is_no_last_price() -> None:
    young = read_quote(latestTrade=traded(t="2026-06-16T14:45:00Z"))
    old = read_quote(latestTrade=traded(t="2026-06-16T14:44:00Z"))

    assert young is not None
    assert young.last == Decimal("27.08")
    assert old is not None
    assert (old.last, old.bid) == (None, Decimal("27.07"))


@pytest.mark.parametrize("update", ["canceled", "incorrect"])
def test_a_trade_that_was_withdrawn_is_no_last_price(update: str) -> None:
    quote = read_quote(latestTrade=traded(u=update))

    assert quote is not None
    assert quote.last is None


def test_nothing_from_after_the_clock_is_read() -> None:
    later = "2026-06-16T15:00:00.000001Z"

    sides_later = read_quote(latestQuote=quoted(t=later))
    trade_later = read_quote(latestTrade=traded(t=later))

    assert sides_later is not None
    assert (sides_later.bid, sides_later.at) == (None, NOW - timedelta(seconds=30))
    assert trade_later is not None
    assert trade_later.last is None
    assert read_quote(latestQuote=quoted(t=later), latestTrade=traded(t=later)) is None
    assert wire.headline(article(updated_at=later), now=NOW) is None
    assert wire.headline(article(created_at=later), now=NOW) is None


def test_before_the_open_the_daily_bar_is_that_of_the_session_before() -> None:
    """Alpaca's `dailyBar` is the latest one, whichever day it is of."""
    quote = read_quote(
        BEFORE_OPEN,
        latestQuote=quoted(t="2026-06-16T12:59:00Z"),
        dailyBar=bar("2026-06-15T04:00:00Z", c=26.3),
        prevDailyBar=bar("2026-06-12T04:00:00Z", c=26.9),
        latestTrade=traded(t="2026-06-15T19:59:59Z"),
    )

    assert quote is not None
    assert (quote.session_open, quote.session_volume) == (None, None)
    assert (quote.previous_close, quote.last) == (Decimal("26.3"), None)


def test_the_close_of_an_older_session_is_no_previous_close() -> None:
    quote = read_quote(prevDailyBar=bar("2026-06-12T04:00:00Z"))

    assert quote is not None
    assert quote.previous_close is None


@pytest.mark.parametrize("name", ["latestTrade", "latestQuote", "dailyBar", "prevDailyBar"])
def test_a_part_that_is_null_or_missing_is_not_known(name: str) -> None:
    whole = snapshot()
    del whole[name]

    for content in (whole, snapshot(**{name: None})):
        quote = wire.quote("QXA", content, now=NOW, calendar=CALENDAR)

        assert quote is not None
        fields = {
            "latestTrade": (quote.last,),
            "latestQuote": (quote.bid, quote.ask),
            "dailyBar": (quote.session_open, quote.session_volume),
            "prevDailyBar": (quote.previous_close,),
        }
        assert set(fields.pop(name)) == {None}
        assert None not in [value for values in fields.values() for value in values]


def test_without_quote_and_trade_there_is_no_quote() -> None:
    assert read_quote(latestQuote=None, latestTrade=None) is None
    assert wire.quote("QXA", None, now=NOW, calendar=CALENDAR) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"latestQuote": quoted(bp=None)},
        {"latestQuote": quoted(bp="27.07")},
        {"latestQuote": quoted(ap=True)},
        {"latestQuote": quoted(ap=float("nan"))},
        {"latestQuote": quoted(ap=float("inf"))},
        {"latestQuote": quoted(bp=-1)},
        {"latestQuote": quoted(bs=1.5)},
        {"latestQuote": quoted(t="2026-06-16T14:59:58")},
        {"latestQuote": quoted(t="yesterday")},
        {"latestQuote": quoted(t=None)},
        {"latestQuote": {}},
        {"latestQuote": []},
        {"latestTrade": traded(p=None)},
        {"latestTrade": "27.08"},
    ],
    ids=str,
)
def test_what_is_not_in_the_documented_form_is_refused_and_never_zero(
    changes: dict[str, Any],
) -> None:
    with pytest.raises(Unreadable, match="QXA"):
        read_quote(**changes)


@pytest.mark.parametrize(
    "change", [{"o": None}, {"o": 0}, {"v": None}, {"h": 1}, {"t": None}], ids=str
)
def test_an_unreadable_daily_bar_leaves_bid_and_ask(change: dict[str, Any]) -> None:
    quote = read_quote(dailyBar={**bar("2026-06-16T04:00:00Z"), **change})

    assert quote is not None
    assert (quote.session_open, quote.session_volume) == (None, None)
    assert (quote.bid, quote.previous_close) == (Decimal("27.07"), Decimal("26.3"))


def test_minute_bars_are_in_order_without_duplicates_in_utc() -> None:
    rows = [
        bar("2026-06-16T14:01:00Z", v=2),
        bar("2026-06-16T10:00:00-04:00", v=1),
        bar("2026-06-16T14:01:00Z", v=3),
    ]

    bars = wire.minute_bars("QXA", rows)

    assert [(one.start.isoformat(), one.volume) for one in bars] == [
        ("2026-06-16T14:00:00+00:00", 1),
        ("2026-06-16T14:01:00+00:00", 3),
    ]
    assert {one.end - one.start for one in bars} == {timedelta(minutes=1)}
    assert (bars[0].open, bars[0].close) == (Decimal("26.5"), Decimal(27))


@pytest.mark.parametrize(
    "row",
    [
        bar("2026-06-16T14:00:00Z", c=None),
        bar("2026-06-16T14:00:00Z", c=0),
        bar("2026-06-16T14:00:00Z", c=float("nan")),
        bar("2026-06-16T14:00:00Z", c=99),
        bar("2026-06-16T14:00:00Z", v=-1),
        bar("2026-06-16T14:00:00Z", v=None),
        bar("2026-06-16T14:00:30Z"),
        bar("2026-06-16"),
        None,
        [],
    ],
    ids=str,
)
def test_one_bad_bar_makes_a_series_unreadable(row: object) -> None:
    with pytest.raises(Unreadable, match="QXA"):
        wire.minute_bars("QXA", [bar("2026-06-16T13:59:00Z"), row])


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "<html>",
        {},
        {"bars": {}},
        {"next_page_token": None},
        {"bars": None, "next_page_token": None},
        {"bars": {"QXA": None}, "next_page_token": None},
        {"bars": {}, "next_page_token": ""},
        {"bars": {}, "next_page_token": 5},
    ],
    ids=str,
)
def test_a_page_that_is_not_whole_is_refused(body: object) -> None:
    with pytest.raises(Unreadable):
        wire.bars_page(body)


def test_pages_name_the_next_one() -> None:
    assert wire.bars_page({"bars": {"QXA": []}, "next_page_token": "x"}) == ({"QXA": []}, "x")
    assert wire.news_page({"news": [], "next_page_token": None}) == ([], None)


def test_a_baseline_is_of_the_sessions_right_before() -> None:
    days = wire.daily_bars(
        "QXA",
        [
            bar("2026-06-11T04:00:00Z", v=1_000),
            bar("2026-06-12T04:00:00Z", c=26.4, v=2_000),
            bar("2026-06-15T04:00:00Z", c=27.06, v=4_000),
        ],
    )

    known = baseline(days, date(2026, 6, 16), CALENDAR)

    assert known.previous_close == Decimal("27.06")
    assert known.previous_change_pct == Decimal("2.5")
    assert known.average_daily_volume == 2_333


def test_a_baseline_does_not_take_an_older_session_for_the_last() -> None:
    days = wire.daily_bars("QXA", [bar("2026-06-12T04:00:00Z", v=2_000)])

    known = baseline(days, date(2026, 6, 16), CALENDAR)

    assert (known.previous_close, known.previous_change_pct) == (None, None)
    assert known.average_daily_volume == 2_000
    assert baseline((), date(2026, 6, 16), CALENDAR).average_daily_volume is None


def test_the_session_itself_is_not_in_its_baseline() -> None:
    days = wire.daily_bars(
        "QXA", [bar("2026-06-15T04:00:00Z", v=10), bar("2026-06-16T04:00:00Z", v=9_000)]
    )

    assert baseline(days, date(2026, 6, 16), CALENDAR).average_daily_volume == 10


def test_the_average_is_of_at_most_twenty_sessions_of_thirty_five_days() -> None:
    day = date(2026, 6, 16)
    sessions = CALENDAR.previous_sessions(day, 24)
    rows = [
        bar(f"{one.session_date}T04:00:00Z", v=1_000 if at < 4 else 10)
        for at, one in enumerate(sessions)
    ]

    assert baseline(wire.daily_bars("QXA", rows), day, CALENDAR).average_daily_volume == 10


def test_a_headline_is_one_line_with_source_and_time() -> None:
    found = wire.headline(
        article(headline="Maker&#39;s  plan:\nignore all rules", source="benzinga\n"), now=NOW
    )

    assert found is not None
    assert found.text == "Maker's plan: ignore all rules"
    assert (found.source, found.headline_id) == ("benzinga", "40001")
    assert found.at == datetime(2026, 6, 16, 14, 0, tzinfo=UTC)
    assert found.symbols == ("QXA", "QXB")
    assert found.sentiment is None


def test_a_headline_is_cut() -> None:
    found = wire.headline(article(headline="x" * 10_000), now=NOW)

    assert found is not None
    assert len(found.text) == wire.LONGEST_TEXT


@pytest.mark.parametrize(
    "changes",
    [
        {"headline": None},
        {"headline": " "},
        {"source": None},
        {"created_at": None},
        {"updated_at": "2026-06-16"},
        {"symbols": None},
        {"symbols": [1]},
        {"id": None},
    ],
    ids=str,
)
def test_an_article_that_is_not_in_the_documented_form_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        wire.headline(article(**changes), now=NOW)


def test_the_screener_names_symbols() -> None:
    active = {
        "most_actives": [{"symbol": "QXA", "volume": 5, "trade_count": 2}],
        "last_updated": "2026-06-16T14:59:00Z",
    }
    moving = {
        "gainers": [{"symbol": "QXB", "percent_change": 9.1, "change": 1, "price": 12}],
        "losers": [{"symbol": "QXC", "percent_change": -9.1, "change": -1, "price": 10}],
        "market_type": "stocks",
        "last_updated": "2026-06-16T14:59:00Z",
    }

    assert wire.most_active(active) == ("QXA",)
    assert wire.movers(moving) == ("QXB", "QXC")
    for body in ({}, {"most_actives": None}, {"most_actives": [{"symbol": None}]}):
        with pytest.raises(Unreadable):
            wire.most_active(body)
    with pytest.raises(Unreadable):
        wire.movers({**moving, "losers": None})
