"""Renders the prompts in config/prompts: limits come from the settings, never from the text itself."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from shared.config import Settings
from shared.models import Mode
from shared.paths import PROJECT

FOLDER = PROJECT / "config" / "prompts"


class Prompts:
    """All prompts of one agent; a name that a template uses and nobody gives is an error."""

    def __init__(
        self, settings: Settings, folder: Path = FOLDER, *, stops_rest_at_broker: bool = True
    ) -> None:
        """Read templates from `folder` on demand; where no stop rests at the broker they say so."""
        self._settings: Settings = settings
        self._stops_rest: bool = stops_rest_at_broker
        self._environment: Environment = Environment(
            loader=FileSystemLoader(folder),
            undefined=StrictUndefined,
            autoescape=False,  # noqa: S701 (plain text for a model, no markup)
            trim_blocks=True,
            keep_trailing_newline=False,
        )

    def system(self) -> str:
        """Render what stays the same in every cycle of this agent, so that it can be cached."""
        settings = self._settings
        return self._environment.get_template("system.md").render(
            agent=settings.agent,
            market=settings.market,
            limits=settings.limits,
            stops_rest_at_broker=self._stops_rest,
        )

    def review_system(self) -> str:
        """Render what a model is told that is asked for a second opinion about an open position."""
        settings = self._settings
        return self._environment.get_template("second_opinion.md").render(
            agent=settings.agent, market=settings.market, stops_rest_at_broker=self._stops_rest
        )

    def first_message(self, mode: Mode, values: Mapping[str, object]) -> str:
        """Render what this cycle is told at its start."""
        return self._environment.get_template(f"{mode}.md").render(
            {"stops_rest_at_broker": self._stops_rest, **values}
        )


def prompt_hash(*texts: str) -> str:
    """SHA-256 over the prompts of a cycle, to find the cycles that were told the same."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
