"""The trailing stop on the tick tables of both exchanges: exact at every edge, and never lower than before."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.config import SignalSettings
from shared.models import Instrument
from shared.ticks import ticks
from signals import trailing_stop
from tests.builders import instrument

TABLES = {
    "US": instrument(ticks=ticks("XNYS", date(2026, 6, 15)).bands),
    "HK 2006": instrument(ticks=ticks("XHKG", date(2025, 8, 1)).bands),
    "HK 2025": instrument(ticks=ticks("XHKG", date(2025, 8, 4)).bands),
    "HK 2026": instrument(ticks=ticks("XHKG", date(2026, 8, 3)).bands),
}
TWENTY = SignalSettings().model_copy(update={"trailing_stop_pct": Decimal(20)})
"""A stop at four fifths of the best price, so that the best price for any stop is exact: 5/4 of it."""
HAIR = Decimal("1e-12")


def around_the_edges(of: Instrument) -> Iterator[Decimal]:
    """Prices on the grid: the edge of every band, and two steps on either side of it."""
    for band in of.ticks[1:]:
        edge, coarse = band.from_price, band.tick
        fine = of.tick_at(edge - HAIR)
        yield from (edge - 2 * fine, edge - fine, edge, edge + coarse, edge + 2 * coarse)


EDGES = [
    pytest.param(table, price, id=f"{name} {price}")
    for name, table in TABLES.items()
    for price in around_the_edges(table)
]


def stop_for(best: Decimal, of: Instrument, previous: Decimal | None = None) -> Decimal | None:
    return trailing_stop(previous=previous, best_price=best, instrument=of, settings=TWENTY)


@pytest.mark.parametrize(("table", "price"), EDGES)
def test_at_every_edge_of_a_band_the_stop_is_the_next_price_on_the_grid(
    table: Instrument, price: Decimal
) -> None:
    above = price + table.tick_at(price)

    assert stop_for(price * 5 / 4, table) == price
    assert stop_for((price - HAIR) * 5 / 4, table) == price
    assert stop_for((price + HAIR) * 5 / 4, table) == above


@pytest.mark.parametrize(("table", "price"), EDGES)
def test_at_every_edge_of_a_band_a_best_price_that_falls_back_moves_no_stop(
    table: Instrument, price: Decimal
) -> None:
    below = price - table.tick_at(price - HAIR)

    assert stop_for(below * 5 / 4, table, previous=price) == price
    assert stop_for((price - HAIR) * 5 / 4, table, previous=price) == price
    assert stop_for(price * 5 / 4, table, previous=below) == price


edge_prices = st.sampled_from(
    sorted({price for table in TABLES.values() for price in around_the_edges(table)})
)
bests = st.one_of(
    st.decimals("0.0002", "9999", places=4),
    edge_prices,
    edge_prices.map(lambda price: price * 5 / 4 - HAIR),
    edge_prices.map(lambda price: price * 5 / 4 + HAIR),
    st.floats(0.001, 9999).map(Decimal),  # as exact as a float is: up to 50 digits
    st.none(),
)


@given(
    table=st.sampled_from([*TABLES.values()]),
    path=st.lists(bests, min_size=1, max_size=25),
    percent=st.decimals("0.1", "10", places=1),
)
@settings(derandomize=True, max_examples=400)
def test_whatever_the_price_does_the_stop_only_rises_and_stays_on_the_grid(
    table: Instrument, path: list[Decimal | None], percent: Decimal
) -> None:
    chosen = SignalSettings().model_copy(update={"trailing_stop_pct": percent})
    stops: list[Decimal] = []
    for best in path:
        previous = stops[-1] if stops else None
        stop = trailing_stop(previous=previous, best_price=best, instrument=table, settings=chosen)
        assert previous is None or (stop is not None and stop >= previous)
        if stop is None:
            continue
        stops.append(stop)
        if stop != previous:
            tick = table.tick_at(stop)
            wanted = (best or 0) * (100 - percent) / 100
            assert isinstance(stop, Decimal)
            assert stop % tick == 0
            assert best is not None
            assert 0 < stop < best
            assert stop - wanted < table.tick_at(wanted)
            assert stop >= wanted or best - stop <= tick

    assert all(before <= after for before, after in pairwise(stops))
