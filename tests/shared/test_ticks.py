from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from shared.ticks import ticks
from tests.builders import instrument

US_INSTRUMENTS = Path(__file__).resolve().parents[2] / "config" / "instruments" / "us.yaml"
PHASE_1, PHASE_2 = date(2025, 8, 4), date(2026, 8, 3)


def tick_at(exchange: str, on: date, price: str) -> Decimal:
    return instrument(ticks=ticks(exchange, on).bands).tick_at(Decimal(price))


@pytest.mark.parametrize(
    ("price", "tick"),
    [("0.0001", "0.0001"), ("0.9999", "0.0001"), ("1", "0.01"), ("1.01", "0.01"), ("700", "0.01")],
)
def test_us_shares_step_by_a_cent_from_exactly_one_dollar(price: str, tick: str) -> None:
    assert tick_at("XNYS", date(2026, 6, 15), price) == Decimal(tick)


@pytest.mark.parametrize(
    ("edge", "below", "before", "phase_1", "phase_2"),
    [
        ("0.25", "0.249", ("0.001", "0.005"), ("0.001", "0.005"), ("0.001", "0.005")),
        ("0.5", "0.495", ("0.005", "0.01"), ("0.005", "0.01"), ("0.005", "0.005")),
        ("10", "9.99", ("0.01", "0.02"), ("0.01", "0.01"), ("0.005", "0.01")),
        ("20", "19.98", ("0.02", "0.05"), ("0.01", "0.02"), ("0.01", "0.02")),
        ("50", "49.90", ("0.05", "0.05"), ("0.02", "0.05"), ("0.02", "0.05")),
        ("100", "99.95", ("0.05", "0.1"), ("0.05", "0.1"), ("0.05", "0.1")),
        ("200", "199.9", ("0.1", "0.2"), ("0.1", "0.2"), ("0.1", "0.2")),
        ("500", "499.8", ("0.2", "0.5"), ("0.2", "0.5"), ("0.2", "0.5")),
        ("1000", "999.5", ("0.5", "1"), ("0.5", "1"), ("0.5", "1")),
        ("2000", "1999", ("1", "2"), ("1", "2"), ("1", "2")),
        ("5000", "4998", ("2", "5"), ("2", "5"), ("2", "5")),
    ],
)
def test_hong_kong_shares_step_as_their_band_of_the_day_says(
    edge: str,
    below: str,
    before: tuple[str, str],
    phase_1: tuple[str, str],
    phase_2: tuple[str, str],
) -> None:
    found = [
        (tick_at("XHKG", on, below), tick_at("XHKG", on, edge))
        for on in (date(2025, 8, 3), PHASE_1, PHASE_2)
    ]

    assert found == [tuple(map(Decimal, pair)) for pair in (before, phase_1, phase_2)]


@pytest.mark.parametrize(
    ("on", "effective_from"),
    [
        (date(2025, 8, 3), date(2006, 7, 24)),
        (PHASE_1, PHASE_1),
        (date(2026, 8, 2), PHASE_1),
        (PHASE_2, PHASE_2),
        (date(2030, 1, 2), PHASE_2),
    ],
    ids=str,
)
def test_a_table_applies_from_its_first_day_until_the_next(on: date, effective_from: date) -> None:
    assert ticks("XHKG", on).effective_from == effective_from


@pytest.mark.parametrize(
    ("exchange", "first"), [("XNYS", date(2006, 1, 31)), ("XHKG", date(2006, 7, 24))]
)
def test_a_day_before_the_first_table_gets_that_table_and_its_label_says_so(
    exchange: str, first: date
) -> None:
    early, in_force = ticks(exchange, date(2005, 1, 3)), ticks(exchange, first)

    assert early.bands == in_force.bands
    assert early.label == f"{in_force.label} (table of {first})"


@pytest.mark.parametrize("exchange", ["XNYS", "XHKG"])
@pytest.mark.parametrize("on", [date(2005, 1, 3), date(2025, 1, 2), PHASE_1, PHASE_2], ids=str)
def test_bands_ascend_from_zero_and_each_begins_on_a_step_of_both(exchange: str, on: date) -> None:
    bands = ticks(exchange, on).bands
    starts = [band.from_price for band in bands]

    assert starts[0] == 0
    assert starts == sorted(set(starts))
    for earlier, later in pairwise(bands):
        assert earlier.tick < later.tick
        assert later.from_price % earlier.tick == 0
        assert later.from_price % later.tick == 0


def test_an_exchange_without_a_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="XLON"):
        ticks("XLON", PHASE_1)


def test_the_committed_instrument_file_has_the_steps_of_the_table() -> None:
    written = yaml.safe_load(US_INSTRUMENTS.read_text(encoding="utf-8"))["ticks"]

    assert [(Decimal(row["from_price"]), Decimal(row["tick"])) for row in written] == [
        (band.from_price, band.tick) for band in ticks("XNYS", PHASE_2).bands
    ]
