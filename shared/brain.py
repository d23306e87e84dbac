"""Who decides in a cycle: Claude, or in a rehearsal the stand-in that answers in Claude's place."""

from enum import StrEnum

from shared.config import Settings
from shared.config_brokers import BrokerName


class Brain(StrEnum):
    """The two that can be asked."""

    CLAUDE = "claude"
    STAND_IN = "stand-in"


def default_brain(settings: Settings) -> Brain:
    """Return who decides when nobody was named: the stand-in on the paper exchange, else Claude."""
    return Brain.STAND_IN if settings.broker.name is BrokerName.PAPER else Brain.CLAUDE
