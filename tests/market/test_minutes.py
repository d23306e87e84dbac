from datetime import UTC, datetime, timedelta
from decimal import Decimal

from market import calendar as calendars
from market.minutes import Minutes, Window, trading_parts, within
from shared.models import Bar

CALENDAR = calendars.load("XNYS")
OPENS = datetime(2026, 6, 16, 13, 30, tzinfo=UTC)
EARLIER = datetime(2026, 6, 9, 13, 30, tzinfo=UTC)


def at(minutes: int) -> datetime:
    return OPENS + timedelta(minutes=minutes)


def bar(start: datetime, *, symbol: str = "QXA", volume: int = 1) -> Bar:
    price = Decimal(10)
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


def bars(first: int, last: int, *, symbol: str = "QXA", volume: int = 1) -> list[Bar]:
    return [bar(at(minute), symbol=symbol, volume=volume) for minute in range(first, last)]


def window(*symbols: str, start: datetime = OPENS, end: datetime) -> Window:
    return Window(symbols=symbols, start=start, end=end)


def of_alpaca() -> Minutes:
    return Minutes(CALENDAR, bars_per_page=10_000, symbols_per_request=200)


def test_nothing_known_asks_for_all_of_it_at_once() -> None:
    minutes = of_alpaca()

    assert minutes.missing(["QXA", "QXB"], [], start=OPENS, end=at(30)) == (
        window("QXA", "QXB", end=at(30)),
    )
    assert minutes.between("QXA", OPENS, at(30)) is None


def test_what_is_known_is_not_asked_for_again() -> None:
    minutes = of_alpaca()
    minutes.add(window("QXA", end=at(30)), {"QXA": bars(0, 30)})

    assert minutes.missing(["QXA"], [], start=OPENS, end=at(30)) == ()
    assert minutes.missing(["QXA"], [], start=at(5), end=at(20)) == ()
    assert minutes.between("QXA", at(5), at(20)) == tuple(bars(5, 20))


def test_later_only_the_rest_is_asked_for_and_what_had_not_settled() -> None:
    minutes = of_alpaca()
    minutes.add(window("QXA", end=at(30)), {"QXA": bars(0, 29)})

    [later] = minutes.missing(["QXA"], [], start=OPENS, end=at(33))
    minutes.add(later, {"QXA": bars(28, 33, volume=7)})

    assert later == window("QXA", start=at(28), end=at(33))
    assert minutes.between("QXA", OPENS, at(33)) == (*bars(0, 28), *bars(28, 33, volume=7))


def test_an_earlier_beginning_is_asked_for_whole() -> None:
    minutes = of_alpaca()
    minutes.add(window("QXA", end=at(30)), {"QXA": bars(0, 30)})

    [earlier] = minutes.missing(["QXA"], [], start=EARLIER, end=at(30))
    minutes.add(earlier, {"QXA": [bar(EARLIER), *bars(0, 30)]})

    assert earlier.start == EARLIER
    assert minutes.between("QXA", EARLIER, at(30)) == (bar(EARLIER), *bars(0, 30))


def test_a_symbol_that_could_not_be_read_stays_unknown() -> None:
    minutes = of_alpaca()
    minutes.add(window("QXA", "QXB", end=at(30)), {"QXB": ()})

    assert minutes.between("QXA", OPENS, at(30)) is None
    assert minutes.between("QXB", OPENS, at(30)) == ()


def test_others_that_miss_the_same_fill_the_page() -> None:
    """Six sessions are 2,340 minutes: three symbols of them leave no room on a page of 10,000 for another."""
    minutes = of_alpaca()
    others = [f"QX{n}" for n in range(9)]
    start, end = EARLIER, OPENS + timedelta(minutes=390)

    [whole] = minutes.missing(["QXA"], others, start=start, end=end)
    minutes.add(whole, dict.fromkeys(whole.symbols, ()))
    [next_one] = minutes.missing(["QX2"], others, start=start, end=end)

    assert whole.symbols == ("QXA", "QX0", "QX1")
    assert next_one.symbols == ("QX2", "QX3", "QX4")


def test_a_short_window_takes_every_other_along() -> None:
    minutes = of_alpaca()
    every = [f"QX{n}" for n in range(30)]
    minutes.add(
        window(*every, end=at(30)), {symbol: bars(0, 30, symbol=symbol) for symbol in every}
    )

    [later] = minutes.missing(["QX7"], every, start=OPENS, end=at(31))

    assert sorted(later.symbols) == sorted(every)
    assert later.symbols[0] == "QX7"


def test_a_request_names_at_most_two_hundred_symbols() -> None:
    every = [f"Q{n}" for n in range(401)]

    found = of_alpaca().missing(every, [], start=OPENS, end=at(1))

    assert [len(one.symbols) for one in found] == [200, 200, 1]
    assert [symbol for one in found for symbol in one.symbols] == every


def test_only_minutes_of_a_session_count() -> None:
    friday = datetime(2026, 6, 12, 19, 58, tzinfo=UTC)
    found = [bar(friday + timedelta(minutes=n)) for n in range(4)] + bars(-2, 2)

    parts = trading_parts(CALENDAR, friday, at(1))

    assert [one.start for one in within(found, parts)] == [
        friday,
        friday + timedelta(minutes=1),
        at(0),
    ]
