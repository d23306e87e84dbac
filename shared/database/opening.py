"""Opens the two databases of a run: given ones as they are, an embedded one made ready first.

A process has three connections at most; a managed PostgreSQL has few for everybody together.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import SecretStr

from shared import migrate
from shared.config import Configuration
from shared.database.connection import Connection, connect
from shared.embedded_postgres import create_database, ensure_running
from shared.errors import ConfigError, DatabaseUnavailable
from shared.migrate import DatabaseKind


class Research(StrEnum):
    """What a run does about the research database; without it no new risk is taken."""

    NEEDED = "needed"
    MAY_BE_AWAY = "may_be_away"
    """The run leaves positions, and goes on without it."""
    NOT_NEEDED = "not_needed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Databases:
    """The three open connections of a run."""

    lock: Connection
    """To the trading database; its session holds the agent's lock, and nobody else asks it anything."""
    trading: Connection
    research: "Connection | None"
    """None where the run goes on without it."""


async def open_databases(
    stack: AsyncExitStack,
    configuration: Configuration,
    *,
    environ: Mapping[str, str],
    home: Path,
    embedded_names: tuple[str, str],
    research: Research = Research.NEEDED,
) -> Databases:
    """Connect for the lock, for trading and for research; the stack closes them.

    An embedded server is started, its databases created and migrated. A database given by URL is only
    checked: it is migrated by a person. Raises DatabaseUnavailable and ConfigError.
    """
    names = embedded_names if research is not Research.NOT_NEEDED else embedded_names[:1]
    urls = await ready_urls(configuration, environ=environ, home=home, embedded_names=names)
    lock = await _connected(stack, configuration, urls[0], purpose="lock")
    trading = await _connected(stack, configuration, urls[0], purpose="trading")
    await _checked(trading, configuration, DatabaseKind.TRADING)
    if research is Research.NOT_NEEDED:
        return Databases(lock=lock, trading=trading, research=None)
    try:
        found = await _connected(stack, configuration, urls[1], purpose="research")
        await _checked(found, configuration, DatabaseKind.RESEARCH)
    except DatabaseUnavailable:
        if research is not Research.MAY_BE_AWAY:
            raise
        return Databases(lock=lock, trading=trading, research=None)
    return Databases(lock=lock, trading=trading, research=found)


async def open_trading(
    stack: AsyncExitStack,
    configuration: Configuration,
    *,
    environ: Mapping[str, str],
    home: Path,
    embedded_name: str,
) -> Connection:
    """Connect to the trading database alone, as `open_databases` does."""
    (url,) = await ready_urls(
        configuration, environ=environ, home=home, embedded_names=(embedded_name,)
    )
    trading = await _connected(stack, configuration, url, purpose="trading")
    await _checked(trading, configuration, DatabaseKind.TRADING)
    return trading


async def ready_urls(
    configuration: Configuration,
    *,
    environ: Mapping[str, str],
    home: Path,
    embedded_names: Sequence[str],
) -> Sequence[str]:
    """Return the URLs, trading first; embedded databases are made before, which takes a connection."""
    if configuration.settings.database.kind == "embedded":
        server = ensure_running(home, environ=environ)
        for name in embedded_names:
            await create_database(server, name)
        return [server.dsn(name) for name in embedded_names]
    secrets = configuration.secrets
    urls = (secrets.trading_database_url, secrets.research_database_url)
    return [_given(url) for url in urls[: len(embedded_names)]]


async def _connected(
    stack: AsyncExitStack, configuration: Configuration, url: str, *, purpose: str
) -> Connection:
    settings = configuration.settings
    connection = await connect(
        url,
        application_name=f"catalyst {settings.agent.id} {purpose} {os.getpid()}",
        command_timeout_seconds=settings.database.command_timeout_seconds,
    )
    stack.push_async_callback(connection.close)
    return connection


async def _checked(
    connection: Connection, configuration: Configuration, kind: DatabaseKind
) -> None:
    is_embedded = configuration.settings.database.kind == "embedded"
    await (migrate.migrate if is_embedded else migrate.check)(connection, kind)


def _given(url: SecretStr | None) -> str:
    if url is None:
        msg = "a database URL is missing; configuration should have said so"
        raise ConfigError(msg)
    return url.get_secret_value()
