"""A person halts while Claude is being asked: what comes after is refused, and leaving stays possible."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

import pytest

from rehearsal.stand_in import Policy
from shared.claude_messages import Json
from shared.database.connection import Connection
from shared.models import Mode
from shared.trading_state import halt, reduce
from tests.fixtures.broker_orders import AT
from tests.fixtures.claude import DONE, LOG, call, scripted
from tests.fixtures.theatre import Tape, Theatre, sale_of, trade_of


def between(first: Sequence[Json], home: Path, *, halts: bool, then: Policy) -> Policy:
    """Give the first reply; restrict the agent by its file, as another process would; go on."""
    left = [first]

    def reply(asked: Json) -> Sequence[Json]:
        if left:
            return left.pop()
        if not (home / "state" / "rehearsal.json").exists():
            by_person = halt if halts else reduce
            order = by_person(None, agent_id="rehearsal", home=home, why="fire", by="me", at=AT)
            # the cycle's own event loop is busy with being asked
            person = Thread(target=lambda: asyncio.run(order))
            person.start()
            person.join()
        return then(asked)

    return reply


@pytest.mark.parametrize("halts", [True, False], ids=["halt", "reduce"])
async def test_an_entry_after_a_halt_is_refused_in_the_same_cycle_and_an_exit_is_not(
    halts: bool, tmp_path: Path, trading_connection: Connection, research_connection: Connection
) -> None:
    tape = Tape(tmp_path / "tape").write()
    theatre = Theatre(tmp_path / "rehearsal", tape, trading_connection, research_connection)
    after = scripted(
        [call("execute_trade", trade_of(5))], [call("execute_trade", sale_of())], [LOG], [DONE]
    )
    policy = between([call("execute_trade", trade_of())], tmp_path, halts=halts, then=after)
    outcome = await theatre.run(Mode.TRADE, policy)
    (refusal,) = await theatre.rows("SELECT codes, texts FROM refusals")
    filled = await theatre.rows("SELECT side FROM fills ORDER BY fill_key")

    assert "TRADING_STATE" in refusal["codes"]
    assert "fire" in refusal["texts"][refusal["codes"].index("TRADING_STATE")]
    assert [row["side"] for row in filled] == ["buy", "sell"]
    assert outcome.positions == 0
