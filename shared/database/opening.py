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
from shared.errors import ConfigError
from shared.migrate import DatabaseKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Databases:
    """The two open connections of a run."""

    trading: Connection
    research: Connection


async def open_databases(
    stack: AsyncExitStack,
    configuration: Configuration,
    *,
    environ: Mapping[str, str],
    home: Path,
    embedded_names: tuple[str, str],
) -> Databases:
    """Connect to both; the stack closes them.

    An embedded server is started, its databases created and migrated. A database given by URL is only
    checked: it is migrated by a person. Raises DatabaseUnavailable and ConfigError.
    """
    settings = configuration.settings
    if settings.database.kind == "embedded":
        server = ensure_running(home, environ=environ)
        for name in embedded_names:
            await create_database(server, name)
        urls = tuple(server.dsn(name) for name in embedded_names)
        ready = migrate.migrate
    else:
        secrets = configuration.secrets
        urls = (_given(secrets.trading_database_url), _given(secrets.research_database_url))
        ready = migrate.check
    opened: list[Connection] = []
    for url, kind in zip(urls, (DatabaseKind.TRADING, DatabaseKind.RESEARCH), strict=True):
        connection = await connect(
            url,
            application_name=f"catalyst {settings.agent.id}",
            command_timeout_seconds=settings.database.command_timeout_seconds,
        )
        stack.push_async_callback(connection.close)
        await ready(connection, kind)
        opened.append(connection)
    return Databases(trading=opened[0], research=opened[1])


def _given(url: SecretStr | None) -> str:
    if url is None:
        msg = "a database URL is missing; configuration should have said so"
        raise ConfigError(msg)
    return url.get_secret_value()
