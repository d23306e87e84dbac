"""Opens broker and market data of an agent on moomoo: two connections to OpenD, one share of its limits."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from market.base import Feed
from market.calendar import Calendar
from shared.clock import Clock
from shared.config import Configuration
from shared.config_brokers import MoomooSettings
from shared.errors import ConfigError
from shared.models import Mode
from shared.opend import OpenD, OpenDShare

if TYPE_CHECKING:
    from brokers.base import Broker


@dataclass(frozen=True, slots=True, kw_only=True)
class Moomoo:
    """One process's way to moomoo."""

    configuration: Configuration
    settings: MoomooSettings
    share: OpenDShare

    @classmethod
    def of(cls, configuration: Configuration, mode: Mode | None) -> "Moomoo":
        """Take address and share from the configuration; without a mode a person or a comparison asks.

        Raises ConfigError where the configuration is that of another broker.
        """
        settings, secrets = configuration.settings.broker.moomoo, configuration.secrets
        if settings is None or secrets.opend_address is None:
            raise ConfigError("the broker is moomoo, and its section is missing")
        host, port = secrets.opend_address
        settings = settings.model_copy(
            update={"host": host, "port": port, "rsa_key_file": secrets.opend_key_file}
        )
        shares = settings.shares
        match mode:
            case None:
                per_cent = shares.other_pct
            case Mode.MONITOR:
                per_cent = shares.monitor_pct
            case _:
                per_cent = shares.cycle_pct
        return cls(configuration=configuration, settings=settings, share=OpenDShare(per_cent))

    def broker(self, clock: Clock) -> "Broker":
        """Open the account."""
        from brokers.moomoo import MoomooBroker

        return MoomooBroker(OpenD(self.settings, self.share), self.settings, clock)

    def feed(self, clock: Clock, calendar: Calendar) -> Feed:
        """Open the market data."""
        from market.moomoo import MoomooFeed

        indices = self.configuration.settings.market.indices
        opend = OpenD(self.settings, self.share)
        return MoomooFeed(
            opend,
            clock,
            calendar=calendar,
            settings=self.settings,
            listed={symbol for symbols in indices.values() for symbol in symbols},
            release=opend.close,
        )
