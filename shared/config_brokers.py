"""Which account an agent trades, and how its broker is reached."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from shared.config_section import Money, Section, VariableName


class BrokerName(StrEnum):
    """Adapters that exist."""

    PAPER = "paper"
    ALPACA = "alpaca"
    MOOMOO = "moomoo"


class RequestShares(Section):
    """How many requests a minute each kind of process may send: Alpaca allows 200 to an account in all."""

    cycle: Annotated[int, Field(ge=1, le=200)] = 120
    """Runs that cron starts."""
    monitor: Annotated[int, Field(ge=1, le=200)] = 60
    """The position monitor, which works beside them."""
    other: Annotated[int, Field(ge=1, le=200)] = 20
    """The startup monitor, and what a person types."""


class AlpacaSettings(Section):
    """How Alpaca is reached; the keys come from the environment only."""

    trading_url: str = "https://paper-api.alpaca.markets"
    """Only the paper host, or a simulator on this machine; without a path."""
    data_url: str = "https://data.alpaca.markets"
    """Where market data and news come from; without a path."""
    api_key_env: VariableName = "ALPACA_API_KEY"
    """Name of the variable that holds the key's id."""
    secret_key_env: VariableName = "ALPACA_SECRET_KEY"  # noqa: S105 (the name of a variable)
    """Name of the variable that holds the secret key."""
    feed: Literal["iex", "sip"] = "iex"
    """Which trades and quotes: those of one exchange, or, where the account pays for it, of all."""
    connect_timeout_seconds: Annotated[float, Field(gt=0, le=30)] = 3.0
    """What opening a connection may take."""
    read_timeout_seconds: Annotated[float, Field(gt=0, le=30)] = 5.0
    """How long the server may be silent within an answer."""
    call_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 10.0
    """What one call may take from its beginning to the last byte of its answer."""
    share_timeout_seconds: Annotated[float, Field(ge=0, le=120)] = 61.0
    """How long a read waits for its turn, before its call begins, when the share of the minute is used up."""
    requests_per_minute: RequestShares = RequestShares()


class OpenDShares(Section):
    """How much of each of OpenD's limits, so many requests in 30 seconds, each kind of process may use."""

    cycle_pct: Annotated[int, Field(ge=1, le=100)] = 55
    """Runs that cron starts."""
    monitor_pct: Annotated[int, Field(ge=1, le=100)] = 30
    """The position monitor, which works beside them."""
    other_pct: Annotated[int, Field(ge=1, le=100)] = 15
    """The startup monitor, and what a person types."""


class MoomooSettings(Section):
    """How moomoo is reached: through OpenD, its gateway, which a person has logged in."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Where OpenD runs; MOOMOO_HOST wins over it."""
    port: Annotated[int, Field(ge=1, le=65535)] = 11111
    """Where it listens; MOOMOO_PORT wins over it."""
    account_id: Annotated[str, Field(pattern=r"^[0-9]{1,20}$")] | None = None
    """The paper account for stocks; null takes it where the login has exactly one."""
    rsa_key_file: str | None = None
    """The key that OpenD was given too, which encrypts; needed unless OpenD runs on this machine.
    MOOMOO_RSA_KEY_FILE wins over it."""
    connect_timeout_seconds: Annotated[float, Field(gt=0, le=10)] = 4.0
    """What finding OpenD and opening a connection may take, and then once more its greeting."""
    call_timeout_seconds: Annotated[float, Field(gt=0, le=30)] = 8.0
    """What one call may take from its beginning to its answer."""
    share_timeout_seconds: Annotated[float, Field(ge=0, le=60)] = 31.0
    """How long a read waits for its turn where the share of a limit is used up."""
    symbols_per_snapshot: Annotated[int, Field(ge=1, le=400)] = 20
    """Symbols in one question for quotes: 20 with the free quotes of Hong Kong, 400 with paid ones."""
    most_active: Annotated[int, Field(ge=0, le=200)] = 50
    """How many of the most traded stocks a scan looks at besides the lists in market.indices."""
    shares: OpenDShares = OpenDShares()


class BrokerSettings(Section):
    """Which account it trades, and how the paper exchange behaves."""

    name: BrokerName
    environment: Literal["paper"] = "paper"
    """Live trading is refused."""
    starting_cash: Money = Decimal(100000)
    """Cash of a new paper account."""
    volume_share_pct: Annotated[Decimal, Field(gt=0, le=100)] = Decimal(10)
    """Share of a minute's volume that the paper exchange lets one order have."""
    alpaca: AlpacaSettings | None = None
    """Present exactly when the broker is Alpaca."""
    moomoo: MoomooSettings | None = None
    """Present exactly when the broker is moomoo."""
