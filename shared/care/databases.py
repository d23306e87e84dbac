"""The two databases of an agent, as care opens them: whatever their schema is, and for as long as it takes."""

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from shared.agent_lock import hold_advisory
from shared.database.connection import Connection, connect
from shared.database.fences import Role
from shared.database.opening import ready_urls
from shared.operate.place import Place
from shared.sql import DatabaseKind

COMMAND_TIMEOUT_SECONDS = 600.0
"""What a statement may take that changes or checks a whole table."""

Connections = Mapping[DatabaseKind, Connection]


@asynccontextmanager
async def open_connections(place: Place) -> AsyncGenerator[Connections]:
    """Connect to both databases. Raises NoRehearsal, ConfigError and DatabaseUnavailable."""
    async with AsyncExitStack() as stack:
        urls = await _urls(place)
        yield {kind: await _connected(stack, place, url) for kind, url in urls.items()}


@asynccontextmanager
async def open_alone(place: Place) -> AsyncGenerator[Connections]:
    """Connect to both databases while nobody has the agent, on whatever machine; Busy when somebody does.

    With the lock's own that makes three connections, as many as a process may have.
    """
    async with AsyncExitStack() as stack:
        urls = await _urls(place)
        lock = await _connected(stack, place, urls[DatabaseKind.TRADING])
        for role in Role:
            seconds = place.settings.locks.release_seconds
            held = hold_advisory(lock, place.agent_id, role, wait_seconds=seconds)
            await stack.enter_async_context(held)
        yield {kind: await _connected(stack, place, url) for kind, url in urls.items()}


async def _urls(place: Place) -> Mapping[DatabaseKind, str]:
    urls = await ready_urls(
        place.configuration,
        environ=place.environ,
        home=place.home,
        embedded_names=place.database_names,
    )
    return dict(zip((DatabaseKind.TRADING, DatabaseKind.RESEARCH), urls, strict=True))


async def _connected(stack: AsyncExitStack, place: Place, url: str) -> Connection:
    connection = await connect(
        url,
        application_name=f"catalyst {place.agent_id} care {os.getpid()}",
        command_timeout_seconds=COMMAND_TIMEOUT_SECONDS,
        connect_timeout_seconds=place.settings.database.command_timeout_seconds,
    )
    stack.push_async_callback(connection.close)
    return connection
