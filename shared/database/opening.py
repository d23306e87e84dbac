"""Opens the two databases of a run: given ones as they are, an embedded one made ready first."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from shared import migrate
from shared.config import Configuration
from shared.database.connection import Connection, connect
from shared.embedded_postgres import create_database, ensure_running
from shared.errors import ConfigError, DatabaseUnavailable
from shared.migrate import DatabaseKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Databases:
    """The two open connections of a run."""

    trading: Connection
    research: "Connection | None"
    """None where it is away and the run goes on without it."""


async def open_databases(
    stack: AsyncExitStack,
    configuration: Configuration,
    *,
    environ: Mapping[str, str],
    home: Path,
    embedded_names: tuple[str, str],
    research_may_be_away: bool = False,
) -> Databases:
    """Connect to both; the stack closes them. The research database is only needed to take new risk.

    An embedded server is started, its databases created and migrated. A database given by URL is only
    checked: it is migrated by a person. Raises DatabaseUnavailable and ConfigError.
    """
    trading_name, research_name = embedded_names
    trading = await _open(
        stack,
        configuration,
        DatabaseKind.TRADING,
        environ=environ,
        home=home,
        embedded_name=trading_name,
    )
    try:
        research = await _open(
            stack,
            configuration,
            DatabaseKind.RESEARCH,
            environ=environ,
            home=home,
            embedded_name=research_name,
        )
    except DatabaseUnavailable:
        if not research_may_be_away:
            raise
        research = None
    return Databases(trading=trading, research=research)


async def open_trading(
    stack: AsyncExitStack,
    configuration: Configuration,
    *,
    environ: Mapping[str, str],
    home: Path,
    embedded_name: str,
) -> Connection:
    """Connect to the trading database alone, as `open_databases` does."""
    return await _open(
        stack,
        configuration,
        DatabaseKind.TRADING,
        environ=environ,
        home=home,
        embedded_name=embedded_name,
    )


async def _open(
    stack: AsyncExitStack,
    configuration: Configuration,
    kind: DatabaseKind,
    *,
    environ: Mapping[str, str],
    home: Path,
    embedded_name: str,
) -> Connection:
    settings, is_trading = configuration.settings, kind is DatabaseKind.TRADING
    if settings.database.kind == "embedded":
        server = ensure_running(home, environ=environ)
        await create_database(server, embedded_name)
        url, ready = server.dsn(embedded_name), migrate.migrate
    else:
        secrets = configuration.secrets
        url = _given(secrets.trading_database_url if is_trading else secrets.research_database_url)
        ready = migrate.check
    connection = await connect(
        url,
        application_name=f"catalyst {settings.agent.id}",
        command_timeout_seconds=settings.database.command_timeout_seconds,
    )
    stack.push_async_callback(connection.close)
    await ready(connection, kind)
    return connection


def _given(url: SecretStr | None) -> str:
    if url is None:
        msg = "a database URL is missing; configuration should have said so"
        raise ConfigError(msg)
    return url.get_secret_value()
