from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market import calendar as calendars
from market import moomoo_wire as wire
from market.bars import require_sound
from market.moomoo_wire import Standing
from shared.models import Bar, Quote, QuoteSource
from shared.unreadable import Unreadable
from tests.simulators.opend.messages import module, quoting

NOW = datetime(2026, 12, 22, 3, 0, tzinfo=UTC)
"""Eleven in the morning in Hong Kong."""
CALENDAR = calendars.load("XHKG")
HALTED = {9, 14, 15, 18, 19, 20, 21}
TRADED = {1, 8}
snapshots: Any = module("Qot_GetSecuritySnapshot")


def snapshot(**changes: Any) -> Any:
    """A sound snapshot; None leaves a field out."""
    made = snapshots.Snapshot()
    basic = made.basic
    basic.security.market, basic.security.code = 1, "00700"
    fields: dict[str, Any] = {
        "type": 3,
        "isSuspend": False,
        "listTime": "2004-06-16",
        "lotSize": 100,
        "priceSpread": 0.2,
        "updateTime": "2026-12-22 10:59:58",
        "highPrice": 404.0,
        "openPrice": 400.2,
        "lowPrice": 399.8,
        "lastClosePrice": 398.6,
        "curPrice": 402.4,
        "volume": 5_000_100,
        "turnover": 2e9,
        "turnoverRate": 0.1,
        "bidPrice": 402.2,
        "askPrice": 402.4,
        "bidVol": 1200,
        "askVol": 300,
        "secStatus": 1,
    }
    for name, value in (fields | changes).items():
        if value is not None:
            setattr(basic, name, value)
    return made


def read(**changes: Any) -> Quote | None:
    return wire.quote("0700", snapshot(**changes), now=NOW, calendar=CALENDAR)


def shown(**changes: Any) -> Quote:
    found = read(**changes)
    assert found is not None
    return found


def candle(time: str, **changes: Any) -> Any:
    """A sound candle; None leaves a field out."""
    fields: dict[str, Any] = {
        "isBlank": False,
        "openPrice": 10.0,
        "highPrice": 10.2,
        "lowPrice": 9.9,
        "closePrice": 10.1,
        "volume": 4000,
        "time": time,
    }
    known = {name: value for name, value in (fields | changes).items() if value is not None}
    return quoting.KLine(**known)


def minutes(*candles: Any) -> tuple[Bar, ...]:
    return wire.minute_bars("0700", candles, CALENDAR)


def test_a_snapshot_is_read_as_it_stands() -> None:
    assert read() == Quote(
        symbol="0700",
        at=datetime(2026, 12, 22, 2, 59, 58, tzinfo=UTC),
        bid=Decimal("402.2"),
        ask=Decimal("402.4"),
        bid_size=1200,
        ask_size=300,
        last=Decimal("402.4"),
        source=QuoteSource.QUOTED,
        session_open=Decimal("400.2"),
        session_volume=5_000_100,
        previous_close=Decimal("398.6"),
    )


@pytest.mark.parametrize(
    ("changes", "unknown"),
    [
        ({"bidPrice": None}, {"bid", "ask", "bid_size", "ask_size"}),
        ({"askPrice": 0.0}, {"bid", "ask", "bid_size", "ask_size"}),
        ({"bidPrice": 402.6}, {"bid", "ask", "bid_size", "ask_size"}),
        ({"bidVol": None}, {"bid_size"}),
        ({"askVol": 0}, {"ask_size"}),
        ({"curPrice": 0.0}, {"last"}),
        ({"lastClosePrice": 0.0}, {"previous_close"}),
        ({"openPrice": 0.0}, {"session_open", "session_volume"}),
        ({"volume": 0}, {"session_open", "session_volume"}),
        (
            {"updateTime": "2026-12-21 16:08:00"},
            {"session_open", "session_volume", "previous_close"},
        ),
    ],
)
def test_what_is_left_out_or_zero_is_not_known(changes: dict[str, Any], unknown: set[str]) -> None:
    found, whole = shown(**changes), shown()

    fields = set(Quote.__dataclass_fields__) - {"symbol", "at", "source", "halted"}
    assert {name for name in fields if getattr(found, name) is None} == unknown
    for name in fields - unknown:
        assert getattr(found, name) == getattr(whole, name)


@pytest.mark.parametrize("name", ["curPrice", "bidPrice", "openPrice", "lastClosePrice"])
@pytest.mark.parametrize("absurd", [float("nan"), float("inf"), -0.5, 1e7, 1e300])
def test_an_absurd_price_is_unreadable(name: str, absurd: float) -> None:
    with pytest.raises(Unreadable, match=f"{name} of 0700"):
        read(**{name: absurd})


@pytest.mark.parametrize("name", ["volume", "bidVol"])
def test_a_negative_number_of_shares_is_unreadable(name: str) -> None:
    with pytest.raises(Unreadable, match=f"{name} of 0700"):
        read(**{name: -1})


@pytest.mark.parametrize("text", ["", "N/A", "2026-12-22", "2026-13-22 10:00:00", "22.12.2026"])
def test_a_time_in_another_form_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable, match="updateTime of 0700"):
        read(updateTime=text)
    assert wire.quoted_at(snapshot(updateTime=text), CALENDAR) is None
    with pytest.raises(Unreadable, match="time of a candle of 0700"):
        minutes(candle(text))


@pytest.mark.parametrize(
    ("seconds", "at"),
    [
        (None, "02:59:58"),
        (0.0, "02:59:58"),
        (datetime(2026, 12, 22, 2, 58, tzinfo=UTC).timestamp(), "02:58:00"),
        (datetime(2026, 12, 22, 2, 59, 59, tzinfo=UTC).timestamp(), "02:59:58"),
    ],
)
def test_of_two_times_the_older_one_counts(seconds: float | None, at: str) -> None:
    assert f"{shown(updateTimestamp=seconds).at:%H:%M:%S}" == at


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 1e300])
def test_a_timestamp_that_is_no_time_is_unreadable(seconds: float) -> None:
    with pytest.raises(Unreadable, match="updateTimestamp of 0700"):
        read(updateTimestamp=seconds)


def test_what_is_later_than_our_clock_is_not_shown() -> None:
    assert read(updateTime="2026-12-22 11:00:01") is None
    assert shown(updateTime="2026-12-22 11:00:00").at == NOW


@pytest.mark.parametrize("number", [*range(24), 77])
def test_each_status_is_traded_halted_or_not_shown(number: int) -> None:
    found = read(secStatus=number)

    if number in TRADED:
        assert found is not None
        assert not found.halted
    elif number in HALTED or number not in wire._STANDINGS or number == 0:
        assert found is not None
        assert found.halted
    else:
        assert found is None


def test_every_status_of_the_installed_client_has_a_meaning_here() -> None:
    assert set(quoting.SecurityStatus.values()) == set(wire._STANDINGS)
    unknown = [n for n, standing in wire._STANDINGS.items() if standing is Standing.UNKNOWN]
    assert unknown == [0]
    assert wire.standing_of(snapshot(secStatus=None)) is Standing.UNKNOWN


def test_a_suspension_counts_whatever_the_status_says() -> None:
    assert shown(isSuspend=True, secStatus=1).halted
    assert shown(isSuspend=False, secStatus=None).halted
    assert read(isSuspend=True, secStatus=13) is None


@pytest.mark.parametrize("kind", range(13))
def test_only_shares_and_funds_are_shown(kind: int) -> None:
    assert (read(type=kind) is not None) is (
        kind in {quoting.SecurityType_Eqty, quoting.SecurityType_Trust}
    )


def test_a_minute_begins_a_minute_before_the_time_that_names_it() -> None:
    [bar] = minutes(candle("2026-12-22 09:31:00"))

    assert bar.start == datetime(2026, 12, 22, 1, 30, tzinfo=UTC)
    assert bar.end == bar.start + timedelta(minutes=1)
    assert (bar.open, bar.high, bar.low, bar.close) == tuple(
        map(Decimal, ("10", "10.2", "9.9", "10.1"))
    )
    assert bar.volume == 4000


def test_a_day_begins_at_its_own_midnight() -> None:
    [bar] = wire.daily_bars("0700", [candle("2026-12-21 00:00:00")], CALENDAR)

    assert bar.start == datetime(2026, 12, 20, 16, tzinfo=UTC)
    assert bar.end - bar.start == timedelta(days=1)


def test_candles_come_in_order_and_the_later_one_of_two_counts() -> None:
    bars = minutes(
        candle("2026-12-22 09:33:00"),
        candle("2026-12-22 09:31:00", volume=1),
        candle("2026-12-22 09:31:00", volume=2),
    )

    assert [bar.volume for bar in bars] == [2, 4000]


@pytest.mark.parametrize("changes", [{"isBlank": True, "volume": None}, {"volume": 0}], ids=str)
def test_a_candle_without_trades_is_no_bar(changes: dict[str, Any]) -> None:
    assert minutes(candle("2026-12-22 09:31:00", **changes)) == ()


@pytest.mark.parametrize("name", ["openPrice", "highPrice", "lowPrice", "closePrice", "volume"])
@pytest.mark.parametrize("value", [None, -1])
def test_a_candle_without_a_sound_number_is_unreadable(name: str, value: int | None) -> None:
    with pytest.raises(Unreadable, match="0700"):
        minutes(candle("2026-12-22 09:31:00", **{name: value}))


@pytest.mark.parametrize(
    "changes",
    [
        {"openPrice": 0.0},
        {"lowPrice": 10.15},
        {"highPrice": 10.05},
        {"time": "2026-12-22 09:31:30"},
    ],
    ids=str,
)
def test_a_candle_that_cannot_be_is_unreadable(changes: dict[str, Any]) -> None:
    with pytest.raises(Unreadable, match="0700"):
        minutes(candle(**({"time": "2026-12-22 09:31:00"} | changes)))


@given(steps=st.integers(1, 9_999_999), noise=st.integers(-4, 4))
def test_a_price_has_the_digits_that_the_exchange_gave_it(steps: int, noise: int) -> None:
    """The nearest floats around a price, as sums of floats leave them, are that price."""
    exact = Decimal(steps) / 1000
    price = float(exact) * (1 + noise * 2.0**-52)

    assert shown(curPrice=price).last == exact
    [bar] = minutes(
        candle(
            "2026-12-22 09:31:00",
            **dict.fromkeys(("openPrice", "highPrice", "lowPrice", "closePrice"), price),
        )
    )
    assert bar.close == exact


numbers = st.one_of(
    st.floats(), st.floats(0, 1000), st.sampled_from([0.0, 1e-9, 0.0005, 402.4, 402.2])
)


@given(
    prices=st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("curPrice", "bidPrice", "askPrice", "openPrice", "lastClosePrice"), numbers
        ),
    ),
    volume=st.integers(-5, 10**12),
    status=st.one_of(st.none(), st.integers(-3, 40)),
)
def test_whatever_a_snapshot_says_no_price_is_zero_and_no_side_alone(
    prices: dict[str, float], volume: int, status: int | None
) -> None:
    try:
        found = read(**prices, volume=volume, secStatus=status)
    except Unreadable:
        return
    if found is None:
        return
    known = (found.bid, found.ask, found.last, found.session_open, found.previous_close)
    assert all(price is None or (price.is_finite() and price > 0) for price in known)
    assert (found.bid is None) is (found.ask is None)
    assert found.bid is None or found.ask is None or found.bid <= found.ask
    assert found.session_volume is None or found.session_volume > 0
    assert found.halted or status in TRADED


@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {"minute": st.integers(0, 400)},
            optional={
                **dict.fromkeys(("openPrice", "highPrice", "lowPrice", "closePrice"), numbers),
                "volume": st.integers(-1, 10**9),
                "isBlank": st.booleans(),
            },
        ),
        max_size=5,
    )
)
def test_whatever_candles_say_bars_are_sound_or_there_are_none(rows: list[dict[str, Any]]) -> None:
    opens = datetime(2026, 12, 22, 9, 30)  # noqa: DTZ001
    candles = [
        candle(
            f"{opens + timedelta(minutes=row['minute'])}",
            **{name: value for name, value in row.items() if name != "minute"},
        )
        for row in rows
    ]
    try:
        bars = minutes(*candles)
    except Unreadable:
        return
    require_sound(bars)
    assert all(bar.volume > 0 for bar in bars)
    named = {f"{bar.end.astimezone(CALENDAR.timezone):%Y-%m-%d %H:%M:%S}" for bar in bars}
    assert named <= {one.time for one in candles}
