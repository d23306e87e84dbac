from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.claude import Usage
from shared.errors import ConfigError
from shared.prices import (
    TOOL_USE_SYSTEM_TOKENS,
    ModelPrices,
    PriceTier,
    cost,
    load_prices,
    model_without_price,
    prices_of,
    worst_case,
)
from tests.fixtures.claude import PAPER

CONFIG = Path(__file__).parents[2] / "config" / "models.yaml"
PRICES = load_prices(CONFIG)
SONNET = PRICES["claude-sonnet-5-5"]
HAIKU = PRICES["claude-haiku-5-5"]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        pytest.param(Usage(input=1_000_000), "2", id="input"),
        pytest.param(Usage(output=1_000_000), "10", id="output"),
        pytest.param(Usage(cache_read=1_000_000), "0.20", id="cache read"),
        pytest.param(Usage(cache_write=1_000_000), "2.50", id="cache write"),
        pytest.param(Usage(input=1, output=1, cache_read=1, cache_write=1), "0.0000147", id="each"),
        pytest.param(Usage(), "0", id="nothing"),
    ],
)
def test_a_reply_costs_exactly_what_its_tokens_cost(usage: Usage, expected: str) -> None:
    assert cost(SONNET, usage) == Decimal(expected)


def test_opus_reads_its_cache_at_the_price_of_sonnet() -> None:
    opus = PRICES["claude-opus-5-5"]

    assert cost(opus, Usage(cache_read=1_000_000, cache_write=1_000_000)) == Decimal("5.20")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        pytest.param(Usage(input=100_000), "0.01", id="the last prompt of the first tier"),
        pytest.param(Usage(input=100_001), "0.0500005", id="one token more"),
        pytest.param(Usage(input=1, cache_read=100_000), "0.0050005", id="cache reads count"),
        pytest.param(Usage(output=200_000), "0.1", id="output does not count"),
    ],
)
def test_a_tier_is_chosen_by_the_whole_prompt(usage: Usage, expected: str) -> None:
    assert cost(HAIKU, usage) == Decimal(expected)


def test_every_price_is_dated_and_only_haiku_is_from_a_third_party() -> None:
    assert all(
        prices.priced_on >= date(2026, 11, 1) and prices.source for prices in PRICES.values()
    )
    assert [name for name, prices in PRICES.items() if prices.third_party] == ["claude-haiku-5-5"]


def test_a_model_without_a_price_is_a_configuration_error_that_names_those_with_one() -> None:
    with pytest.raises(ConfigError, match=r"claude-of-the-past has no price.*claude-sonnet-5-5"):
        prices_of(PRICES, "claude-of-the-past")


def test_a_configured_model_without_a_price_is_named_with_its_place() -> None:
    claude = PAPER.claude.model_copy(update={"model": "claude-of-the-past"})
    ((where, what),) = model_without_price(PAPER.model_copy(update={"claude": claude}))

    assert where == ("claude", "model")
    assert what.startswith("claude-of-the-past has no price in config/models.yaml")
    assert "claude-haiku-5-5" in what
    assert not model_without_price(PAPER)


@pytest.mark.parametrize(
    "text",
    [
        "models: {m: {priced_on: 2026-11-19}}",
        "models: [",
        "surprise: 1",
        "",
        CONFIG.read_text(encoding="utf-8").replace('"2.50"', '"-2.50"', 1),
        CONFIG.read_text(encoding="utf-8").replace('"2.50"', '"NaN"', 1),
        CONFIG.read_text(encoding="utf-8").replace("100000", "null", 1),
    ],
)
def test_a_broken_price_file_is_a_configuration_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match=r"models\.yaml"):
        load_prices(path)


def test_a_missing_price_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_prices(tmp_path / "models.yaml")


def test_the_worst_case_takes_a_token_per_byte_at_the_dearest_price() -> None:
    bound = worst_case(SONNET, request_bytes=1_000_000, max_output_tokens=1_000_000)

    assert bound == (1_000_000 + TOOL_USE_SYSTEM_TOKENS) * Decimal("2.50") / 1_000_000 + 10


def test_the_worst_case_covers_a_shorter_prompt_that_falls_into_a_dearer_tier() -> None:
    tiers = [
        PriceTier(
            up_to_prompt_tokens=length,
            input=usd,
            output=usd,
            cache_read=Decimal(0),
            cache_write_5m=Decimal(0),
        )
        for length, usd in [(100, Decimal(9)), (None, Decimal(1))]
    ]
    prices = ModelPrices(
        priced_on=date(2026, 11, 19), source="test", third_party=False, tiers=tuple(tiers)
    )

    short = cost(prices, Usage(input=100, output=1_000_000))
    assert short <= worst_case(prices, request_bytes=100, max_output_tokens=1_000_000)


@st.composite
def _prices(draw: st.DrawFn) -> ModelPrices:
    usd = st.decimals(min_value=0, max_value=100, places=3)
    lengths = sorted(draw(st.sets(st.integers(1, 50_000), max_size=3)))
    tiers = [
        PriceTier(
            up_to_prompt_tokens=length,
            input=draw(usd),
            output=draw(usd),
            cache_read=draw(usd),
            cache_write_5m=draw(usd),
        )
        for length in [*lengths, None]
    ]
    return ModelPrices(
        priced_on=date(2026, 11, 19), source="test", third_party=False, tiers=tuple(tiers)
    )


@given(
    prices=_prices(),
    parts=st.tuples(*[st.integers(0, 20_000)] * 4),
    spare_bytes=st.integers(0, 5_000),
    spare_output=st.integers(0, 100),
)
def test_nothing_a_call_can_use_costs_more_than_its_worst_case(
    prices: ModelPrices, parts: tuple[int, int, int, int], spare_bytes: int, spare_output: int
) -> None:
    usage = Usage(input=parts[0], cache_read=parts[1], cache_write=parts[2], output=parts[3])
    request_bytes = max(usage.prompt - TOOL_USE_SYSTEM_TOKENS, 0) + spare_bytes
    bound = worst_case(
        prices, request_bytes=request_bytes, max_output_tokens=usage.output + spare_output
    )

    assert cost(prices, usage) <= bound
