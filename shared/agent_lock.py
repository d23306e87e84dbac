"""Holds an agent in its database: the advisory lock of a role, and the token that fences off its predecessors."""

import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from shared.clock import Clock
from shared.database.connection import Connection
from shared.database.fences import Role, Sender, take_token
from shared.lock import hold_advisory


@asynccontextmanager
async def hold_agent(
    connection: Connection, *, agent_id: str, role: Role, mode: str, clock: Clock
) -> AsyncGenerator[Sender]:
    """Hold the agent for as long as the block runs, and say under which token orders are sent.

    Raises Busy when another session has it, on whatever machine, and DatabaseUnavailable.
    """
    async with hold_advisory(connection, agent_id):
        yield await take_token(
            connection,
            agent_id=agent_id,
            role=role,
            mode=mode,
            host=socket.gethostname(),
            pid=os.getpid(),
            at=clock.now(),
        )
