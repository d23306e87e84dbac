"""A test's side of the simulated Alpaca."""

from pathlib import Path

from tests.simulators.alpaca.market import SYMBOL
from tests.simulators.alpaca.simulation import KEY, SECRET
from tests.simulators.venue import SimulatedVenue


class AlpacaVenue(SimulatedVenue):
    """`tests.brokers.contract.Venue` but for the broker, which is made from the addresses and keys here."""

    symbol: str = SYMBOL
    lot_size: int = 1
    currency: str = "USD"
    key: str = KEY
    secret: str = SECRET

    def __init__(self, folder: Path) -> None:
        """Start a simulator that keeps its account in `folder`."""
        super().__init__("tests.simulators.alpaca", folder)
        self.trading_url: str = f"http://127.0.0.1:{self.port}"

    @property
    def data_url(self) -> str:
        """Where market data is served; Alpaca has another host for it, the simulator has not."""
        return self.trading_url

    def tell(self, headline: str, *symbols: str, summary: str = "") -> None:
        """Publish news, now."""
        self.ask("tell", headline=headline, symbols=symbols, summary=summary)

    def drop(self, order_id: str) -> None:
        """Let the broker lose an order."""
        self.ask("drop", order_id=order_id)

    def change_account(self, **fields: object) -> None:
        """Set fields of the account as the broker shows it: `id`, `account_blocked`, `status` and so on."""
        self.ask("change_account", fields=fields)

    def change_keys(self, key: str, secret: str) -> None:
        """Let other keys be the good ones, so that those of the venue are refused."""
        self.ask("change_keys", key=key, secret=secret)

    def limit_rate(self, per_minute: int | None) -> None:
        """Set the requests that a minute of the simulator's clock may have; None for no limit."""
        self.ask("limit_rate", per_minute=per_minute)

    def change_plan(self, *, free: bool) -> None:
        """Let the account have the free data plan, or a paid one."""
        self.ask("change_plan", free=free)

    def count(self, method: str, path: str) -> int:
        """How often an endpoint was asked."""
        return sum((r["method"], r["path"]) == (method, path) for r in self.requests())

    def requests_of(self, *methods: str) -> list[str]:
        """Paths that were asked by these methods, oldest first."""
        return [r["path"] for r in self.requests() if r["method"] in methods]
