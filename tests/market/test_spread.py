from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.spread import bid_and_ask, half_spread
from shared.models import Bar, Instrument, InstrumentKind, TickBand

START = datetime(2026, 6, 15, 14, 0, tzinfo=UTC)
US_TICKS = (
    TickBand(from_price=Decimal(0), tick=Decimal("0.0001")),
    TickBand(from_price=Decimal(1), tick=Decimal("0.01")),
)
HK_TICKS = (
    TickBand(from_price=Decimal(0), tick=Decimal("0.001")),
    TickBand(from_price=Decimal("0.25"), tick=Decimal("0.005")),
    TickBand(from_price=Decimal(10), tick=Decimal("0.01")),
    TickBand(from_price=Decimal(20), tick=Decimal("0.02")),
    TickBand(from_price=Decimal(50), tick=Decimal("0.05")),
)


def instrument(ticks: tuple[TickBand, ...] = US_TICKS) -> Instrument:
    return Instrument(
        symbol="QTEST",
        name="Test (invented)",
        exchange="XNYS",
        currency="USD",
        kind=InstrumentKind.STOCK,
        lot_size=1,
        ticks=ticks,
        tradable=True,
    )


def bars(
    price: str = "50.00",
    *,
    count: int = 30,
    reach: str = "0.05",
    volume: int = 10_000,
    rose: bool = True,
) -> tuple[Bar, ...]:
    close, step = Decimal(price), Decimal(reach)
    return tuple(
        Bar(
            symbol="QTEST",
            start=START + timedelta(minutes=minute),
            end=START + timedelta(minutes=minute + 1),
            open=close - step if rose else close + step,
            high=close + step,
            low=close - step,
            close=close,
            volume=volume,
        )
        for minute in range(count)
    )


def width(recent: tuple[Bar, ...]) -> Decimal:
    bid, ask = bid_and_ask(recent[-1].close, recent, instrument())
    return ask - bid


def test_a_liquid_stock_is_quoted_one_tick_wide() -> None:
    assert width(bars(volume=1_000_000)) == Decimal("0.01")


def test_a_thinner_stock_is_quoted_wider() -> None:
    assert width(bars(volume=200)) > width(bars(volume=20_000)) >= Decimal("0.01")


def test_a_wilder_stock_is_quoted_wider() -> None:
    assert width(bars(reach="0.50")) > width(bars(reach="0.05"))


def test_minutes_without_trades_widen_the_spread() -> None:
    assert half_spread(Decimal(50), bars(count=5)) > half_spread(Decimal(50), bars(count=30))


def test_the_half_spread_follows_the_documented_formula() -> None:
    turnover = 50.0 * 10_000
    volatility = (0.10 / 50) / (8 / 3.141592653589793) ** 0.5

    assert half_spread(Decimal(50), bars()) == pytest.approx(  # pyright: ignore[reportUnknownMemberType] - untyped in pytest
        50 * volatility * (100_000 / turnover) ** 0.5
    )


def test_without_any_volume_the_spread_is_the_widest() -> None:
    assert half_spread(Decimal(50), bars(volume=0)) == 0.5


def test_the_last_trade_hit_the_ask_after_a_rise_and_the_bid_after_a_fall() -> None:
    liquid = 1_000_000
    last = Decimal("50.00")

    assert bid_and_ask(last, bars(volume=liquid), instrument())[1] == last
    assert bid_and_ask(last, bars(volume=liquid, rose=False), instrument())[0] == last


def test_a_last_price_between_two_ticks_lies_between_bid_and_ask() -> None:
    last = Decimal("170.6755")

    bid, ask = bid_and_ask(last, bars("170.6755", volume=1_000_000), instrument())

    assert (bid, ask) == (Decimal("170.67"), Decimal("170.68"))


@settings(deadline=None)
@given(
    st.decimals("0.0001", "5000", places=4),
    st.integers(0, 10_000_000),
    st.integers(0, 300),
    st.booleans(),
    st.sampled_from([US_TICKS, HK_TICKS]),
)
def test_bid_and_ask_are_on_the_grid_positive_and_apart(
    last: Decimal, volume: int, reach_bp: int, rose: bool, ticks: tuple[TickBand, ...]
) -> None:
    reach = str(last * reach_bp / 100_000)
    known = instrument(ticks)

    bid, ask = bid_and_ask(last, bars(str(last), reach=reach, volume=volume, rose=rose), known)

    assert 0 < bid < ask
    assert bid % known.tick_at(bid) == 0
    assert ask % known.tick_at(ask) == 0
