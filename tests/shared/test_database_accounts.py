from datetime import datetime

import pytest

from shared.database.accounts import (
    database_identity,
    halts_in_force,
    lift_halts,
    pin_account,
    start_halt,
)
from shared.database.connection import Connection
from shared.errors import ConfigError
from shared.halts import HaltKind
from shared.models import Environment
from tests.fixtures.broker_orders import AGENT, AT, at


async def pin(
    connection: Connection,
    account_id: str = "PA1",
    *,
    broker: str = "paper",
    environment: Environment = Environment.PAPER,
) -> None:
    await pin_account(
        connection,
        agent_id=AGENT,
        broker=broker,
        environment=environment,
        account_id=account_id,
        at=AT,
    )


async def test_the_first_account_is_the_agents_account_for_good(
    trading_connection: Connection,
) -> None:
    await pin(trading_connection)
    await pin(trading_connection)

    with pytest.raises(
        ConfigError, match=r"belongs to account PA1 at paper.* account PA2 at paper"
    ):
        await pin(trading_connection, "PA2")
    with pytest.raises(ConfigError, match="account PA1 at alpaca"):
        await pin(trading_connection, broker="alpaca")


async def test_a_live_account_is_never_pinned(trading_connection: Connection) -> None:
    with pytest.raises(ConfigError, match="only paper accounts are traded, PA1 at paper is live"):
        await pin(trading_connection, environment=Environment.LIVE)

    assert await trading_connection.fetchval("SELECT count(*) FROM account_pins") == 0


async def reasons(connection: Connection, agent_id: str, now: datetime) -> tuple[str, ...]:
    return tuple(halt.reason for halt in await halts_in_force(connection, agent_id, now))


async def test_a_halt_holds_until_it_is_lifted(trading_connection: Connection) -> None:
    await start_halt(
        trading_connection, agent_id=AGENT, reason="enough", started_by="a person", at=AT
    )
    await start_halt(
        trading_connection, agent_id="other", reason="not ours", started_by="a person", at=AT
    )
    held = await reasons(trading_connection, AGENT, at(86400 * 30))
    lifted = await lift_halts(
        trading_connection, agent_id=AGENT, lifted_by="a person", why="calm again", at=at(60)
    )
    again = await lift_halts(
        trading_connection, agent_id=AGENT, lifted_by="a person", why="calm again", at=at(61)
    )

    assert held == ("enough",)
    assert [halt.reason for halt in lifted] == ["enough"]
    assert again == ()
    assert await reasons(trading_connection, AGENT, at(61)) == ()
    assert await reasons(trading_connection, "other", at(61)) == ("not ours",)


async def test_a_halt_for_a_daily_loss_runs_out_and_is_there_once(
    trading_connection: Connection,
) -> None:
    async def start() -> int | None:
        return await start_halt(
            trading_connection,
            agent_id=AGENT,
            reason="daily loss",
            started_by="safety",
            at=AT,
            expires_at=at(60),
            kind=HaltKind.DAILY_LOSS,
        )

    first, second = await start(), await start()

    assert first is not None
    assert second is None
    assert await reasons(trading_connection, AGENT, at(59)) == ("daily loss",)
    assert await reasons(trading_connection, AGENT, at(60)) == ()


async def test_a_halt_holds_at_once_though_clocks_may_disagree(
    trading_connection: Connection,
) -> None:
    await start_halt(trading_connection, agent_id=AGENT, reason="now", started_by="me", at=at(5))

    assert await reasons(trading_connection, AGENT, AT) == ("now",)


async def test_a_database_keeps_its_identity(trading_connection: Connection) -> None:
    first = await database_identity(trading_connection)

    assert await database_identity(trading_connection) == first
