"""Stops that follow a price."""

from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate

from shared.config import SignalSettings
from shared.models import Instrument, TickBand
from shared.ticks import ticks
from signals import trailing_stop
from tests.builders import instrument
from tests.faults.cases import case

SETTINGS = SignalSettings()
TABLES = tuple(
    instrument(ticks=ticks(exchange, on).bands)
    for exchange, on in (
        ("XNYS", date(2026, 6, 15)),
        ("XHKG", date(2025, 8, 1)),
        ("XHKG", date(2025, 8, 4)),
        ("XHKG", date(2026, 8, 3)),
    )
)


def climb_and_fall(band: TickBand) -> list[Decimal | None]:
    """A price that goes from below a band's edge to above it in tenths of a percent, and falls back."""
    climb: list[Decimal | None] = [
        band.from_price * (900 + step) / Decimal(1000) for step in range(251)
    ]
    return [*climb, None, Decimal("NaN"), *reversed(climb)]


def by_hand(best: Decimal, of: Instrument) -> Decimal:
    """The stop for one best price in fractions, which round nothing."""
    wanted = Fraction(best) * (100 - Fraction(SETTINGS.trailing_stop_pct)) / 100
    tick = Fraction([band for band in of.ticks if band.from_price <= wanted][-1].tick)
    stop = -(-wanted // tick) * tick
    return Decimal(stop.numerator) / stop.denominator


@case(
    "F33",
    "a trailing stop moves down",
    injected="prices through every edge of each tick table and back, now and then no number",
    orders=0,
    verdict="the stop only rises, each time to the very tick above its distance",
)
def test_f33_a_trailing_stop_only_rises_and_lies_on_the_tick() -> None:
    for table in TABLES:
        for band in table.ticks[1:]:
            path = climb_and_fall(band)
            stops: list[Decimal | None] = []
            for best in path:
                previous = stops[-1] if stops else None
                stops.append(
                    trailing_stop(
                        previous=previous, best_price=best, instrument=table, settings=SETTINGS
                    )
                )
            wanted = [
                by_hand(best, table) for best in path if best is not None and best.is_finite()
            ]

            assert [*dict.fromkeys(stops)] == [*dict.fromkeys(accumulate(wanted, max))]
            assert stops[-1] == max(wanted)
