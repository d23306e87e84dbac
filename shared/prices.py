"""What Claude costs: dated prices from config/models.yaml, and exact arithmetic on them."""

import itertools
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.claude_messages import Usage
from shared.config import Settings
from shared.errors import ConfigError, Problem
from shared.paths import PROJECT

PRICE_FILE = PROJECT / "config" / "models.yaml"

TOOL_USE_SYSTEM_TOKENS = 2_000
"""Most tokens that the provider adds to a request of its own accord.

It bills a system prompt that explains tools, and one for strict schemas. The documented counts of the
first run from 159 to 530 tokens ("Tool use pricing and tokens"); no count is given for newer models,
whose tokenizer makes about 30 % more of the same text, nor for the second. Rounded up generously.
"""

_Usd = Annotated[Decimal, Field(ge=0)]
_MILLION = Decimal(1_000_000)


class PriceTier(BaseModel):
    """US dollars per million tokens, for prompts up to a length."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    up_to_prompt_tokens: Annotated[int, Field(gt=0)] | None
    """Longest prompt, in tokens, that the tier is for; None in the last one."""
    input: _Usd
    output: _Usd
    cache_read: _Usd
    cache_write_5m: _Usd
    cache_write_1h: _Usd | None = None
    """Catalyst asks for 5-minute entries only; kept to be compared with the provider's page."""

    def reaches(self, prompt_tokens: int) -> bool:
        """Whether a prompt of that many tokens still falls into this tier, or into one before it."""
        return self.up_to_prompt_tokens is None or prompt_tokens <= self.up_to_prompt_tokens

    @property
    def dearest_input(self) -> Decimal:
        """Most that one prompt token can cost here, however it is charged."""
        return max(self.input, self.cache_read, self.cache_write_5m)


class ModelPrices(BaseModel):
    """One model's prices, and when and where they were read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    priced_on: date
    source: Annotated[str, Field(min_length=1)]
    third_party: bool
    """Whether the source is somebody other than the provider."""
    tiers: Annotated[tuple[PriceTier, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _tiers_rise_and_end_open(self) -> Self:
        *closed, last = (tier.up_to_prompt_tokens for tier in self.tiers)
        lengths = [length for length in closed if length is not None]
        rising = all(a < b for a, b in itertools.pairwise(lengths))
        if last is not None or len(lengths) != len(closed) or not rising:
            msg = "tiers must rise by up_to_prompt_tokens and end with null"
            raise ValueError(msg)
        return self


class _PriceFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    models: dict[str, ModelPrices]


def load_prices(path: Path) -> Mapping[str, ModelPrices]:
    """Read the prices of every known model. Raises ConfigError naming what is wrong in the file."""
    try:
        parsed = _PriceFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise ConfigError([Problem(str(path), f"cannot be read: {e}")]) from e
    except ValidationError as e:
        raise ConfigError(
            [Problem(f"{path}: {'.'.join(map(str, x['loc']))}", x["msg"]) for x in e.errors()]
        ) from e
    return parsed.models


def prices_of(prices: Mapping[str, ModelPrices], model: str) -> ModelPrices:
    """Find a model's prices; ConfigError for a model without, since its budget could not be kept."""
    if model not in prices:
        known = ", ".join(sorted(prices))
        raise ConfigError(
            [
                Problem(
                    "claude.model", f"{model} has no price in config/models.yaml", f"known: {known}"
                )
            ]
        )
    return prices[model]


def model_without_price(settings: Settings) -> Sequence[tuple[tuple[str | int, ...], str]]:
    """Say so when a model that an agent asks has no price, for the loading of its configuration."""
    known = load_prices(PRICE_FILE)
    asked: Mapping[tuple[str, str], str] = {
        ("claude", "model"): settings.claude.model,
        ("monitor", "review_model"): settings.monitor.review_model,
    }
    return [
        (
            where,
            f"{model} has no price in config/models.yaml, so no budget can be kept;"
            f" known: {', '.join(sorted(known))}",
        )
        for where, model in asked.items()
        if model not in known
    ]


def cost(prices: ModelPrices, usage: Usage) -> Decimal:
    """Return exactly what a reply costs, in US dollars, by the tier its whole prompt falls into."""
    tier = next(tier for tier in prices.tiers if tier.reaches(usage.prompt))
    return (
        usage.input * tier.input
        + usage.cache_read * tier.cache_read
        + usage.cache_write * tier.cache_write_5m
        + usage.output * tier.output
    ) / _MILLION


def worst_case(prices: ModelPrices, *, request_bytes: int, max_output_tokens: int) -> Decimal:
    """Return more than a call can cost, in US dollars, from the size of its request.

    A token of a byte-level tokenizer stands for at least one byte of UTF-8, so the body's bytes, with
    what the provider adds itself, bound the prompt; each counts at the dearest input price of any tier
    that so long a prompt could fall into, and the whole permitted output is counted too.
    """
    prompt_tokens = request_bytes + TOOL_USE_SYSTEM_TOKENS
    tiers = _tiers_up_to(prices, prompt_tokens)
    return (
        prompt_tokens * max(tier.dearest_input for tier in tiers)
        + max_output_tokens * max(tier.output for tier in tiers)
    ) / _MILLION


def _tiers_up_to(prices: ModelPrices, prompt_tokens: int) -> tuple[PriceTier, ...]:
    below = sum(not tier.reaches(prompt_tokens) for tier in prices.tiers)
    return prices.tiers[: below + 1]
