"""Opens broker and market data of an agent on Alpaca; both take from the process's one share of requests."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from market.base import Feed
from market.calendar import Calendar
from shared.alpaca_http import AlpacaHttp, AlpacaKeys, RequestShare
from shared.clock import Clock
from shared.config import Configuration
from shared.config_brokers import AlpacaSettings
from shared.errors import ConfigError
from shared.models import Mode

if TYPE_CHECKING:
    from brokers.base import Broker


@dataclass(frozen=True, slots=True, kw_only=True)
class Alpaca:
    """One process's way to Alpaca."""

    configuration: Configuration
    settings: AlpacaSettings
    keys: AlpacaKeys
    share: RequestShare

    @classmethod
    def of(cls, configuration: Configuration, mode: Mode | None) -> "Alpaca":
        """Take keys and share from the configuration; without a mode a person or a comparison asks.

        Raises ConfigError where the configuration is that of another broker, or lacks the keys.
        """
        settings, secrets = configuration.settings.broker.alpaca, configuration.secrets
        if settings is None or secrets.alpaca_api_key is None or secrets.alpaca_secret_key is None:
            raise ConfigError("the broker is Alpaca, and its section or its keys are missing")
        url = secrets.alpaca_simulator_url
        if url is not None:
            settings = settings.model_copy(update={"trading_url": url, "data_url": url})
        shares = settings.requests_per_minute
        match mode:
            case None:
                per_minute = shares.other
            case Mode.MONITOR:
                per_minute = shares.monitor
            case _:
                per_minute = shares.cycle
        return cls(
            configuration=configuration,
            settings=settings,
            keys=AlpacaKeys(secrets.alpaca_api_key, secrets.alpaca_secret_key),
            share=RequestShare(per_minute),
        )

    def broker(self, clock: Clock) -> "Broker":
        """Open the account."""
        from brokers.alpaca import AlpacaBroker

        return AlpacaBroker(self.settings, self.keys, self.share, clock)

    def feed(self, clock: Clock, calendar: Calendar) -> Feed:
        """Open the market data."""
        from market.alpaca import AlpacaFeed
        from market.alpaca_requests import Reader, Requests
        from market.alpaca_stocks import TradableStocks

        settings = self.configuration.settings
        data, trading = self._http(self.settings.data_url), self._http(self.settings.trading_url)
        listed = {symbol for symbols in settings.market.indices.values() for symbol in symbols}

        async def release() -> None:
            await data.close()
            await trading.close()

        return AlpacaFeed(
            Requests(Reader(data, settings.orders), self.settings.feed),
            clock,
            calendar=calendar,
            listed=listed,
            stocks=TradableStocks(Reader(trading, settings.orders), clock, calendar),
            release=release,
        )

    def _http(self, url: str) -> AlpacaHttp:
        return AlpacaHttp(self.settings, self.keys, url, self.share)
