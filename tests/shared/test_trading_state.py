"""Which trading state applies, and what keeps it: a file that outlives the database, and the database."""

import json
import subprocess
import sys
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.database.accounts import halts_in_force
from shared.database.connection import Connection
from shared.database.records import queued_alerts
from shared.errors import ConfigError, DatabaseUnavailable
from shared.halts import STRICTNESS, FileHalts, Halt, HaltKind, Unreadable, effective
from shared.migrate import apply, known, migrate
from shared.models import TradingState
from shared.paths import PROJECT
from shared.sql import DatabaseKind
from shared.trading_state import (
    StateInForce,
    current,
    forget,
    halt,
    halt_for_daily_loss,
    read_file,
    reduce,
    resume,
    state_file,
)
from tests.fixtures.broker_orders import AGENT, AT, at
from tests.fixtures.databases import open_connection

ACTIVE, REDUCING, HALTED = TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED
NEXT_OPEN = AT + timedelta(hours=23)


def a_halt(state: TradingState, *, reason: str = "because") -> Halt:
    return Halt(state=state, kind=HaltKind.PERSON, reason=reason, started_by="me", started_at=AT)


def saying(state: TradingState) -> tuple[Halt, ...]:
    """What a place says in which this state stands."""
    return () if state is ACTIVE else (a_halt(state),)


@pytest.mark.parametrize(("database", "file"), tuple(product(TradingState, TradingState)))
def test_the_stricter_of_database_and_file_wins(database: TradingState, file: TradingState) -> None:
    state, reasons = effective(saying(database), saying(file), AT)

    assert state is max(database, file, key=STRICTNESS.__getitem__)
    assert bool(reasons) is (state is not ACTIVE)


@pytest.mark.parametrize("database", list(TradingState))
def test_a_missing_file_means_what_the_database_says(database: TradingState) -> None:
    assert effective(saying(database), None, AT)[0] is database


@pytest.mark.parametrize("database", list(TradingState))
def test_an_unreadable_file_means_halted_whatever_the_database_says(database: TradingState) -> None:
    state, reasons = effective(saying(database), Unreadable("the file is torn"), AT)

    assert state is HALTED
    assert reasons[0] == "halted: the file is torn"
    assert len(reasons) == 1 + len(saying(database))


@pytest.mark.parametrize(
    ("seconds", "state"), [(-1, HALTED), (0, ACTIVE), (1, ACTIVE)], ids=["before", "at", "after"]
)
def test_a_daily_loss_halt_runs_out_when_the_next_session_opens(
    seconds: float, state: TradingState
) -> None:
    lost = Halt(
        state=HALTED,
        kind=HaltKind.DAILY_LOSS,
        reason="lost 2000 USD",
        started_by="safety",
        started_at=AT,
        expires_at=NEXT_OPEN,
    )

    assert effective((lost,), None, NEXT_OPEN + timedelta(seconds=seconds))[0] is state
    assert effective((), (lost,), NEXT_OPEN + timedelta(seconds=seconds))[0] is state


def test_every_reason_is_told_once_and_the_strictest_first() -> None:
    held, slow = a_halt(HALTED, reason="stop"), a_halt(REDUCING, reason="slow")
    _, reasons = effective((slow, held), (held, slow), AT)

    assert reasons == (
        "halted: stop (person, me at 2026-06-15 14:30 UTC)",
        "reducing: slow (person, me at 2026-06-15 14:30 UTC)",
    )


HALTS = st.lists(
    st.builds(
        Halt,
        state=st.sampled_from([REDUCING, HALTED]),
        kind=st.sampled_from([HaltKind.PERSON, HaltKind.UNRESOLVED]),
        reason=st.text(min_size=1).filter(str.strip),
        started_by=st.just("me"),
        started_at=st.just(AT),
    ),
    max_size=4,
).map(tuple)


@given(rows=HALTS, more=HALTS, file=HALTS)
def test_another_halt_never_makes_the_state_laxer(
    rows: tuple[Halt, ...], more: tuple[Halt, ...], file: tuple[Halt, ...]
) -> None:
    before, _ = effective(rows, file, AT)

    for after, reasons in (
        effective((*rows, *more), file, AT),
        effective(rows, (*file, *more), AT),
    ):
        assert STRICTNESS[after] >= STRICTNESS[before]
        assert (after is ACTIVE) is (reasons == ())


@pytest.mark.parametrize(
    "changes",
    [
        {"state": ACTIVE},
        {"reason": " "},
        {"expires_at": NEXT_OPEN},
        {"kind": HaltKind.DAILY_LOSS},
        {"kind": HaltKind.UNRESOLVED, "expires_at": NEXT_OPEN},
        {"started_at": AT.replace(tzinfo=None)},
    ],
    ids=str,
)
def test_a_halt_that_makes_no_sense_cannot_be_made(changes: dict[str, object]) -> None:
    values: dict[str, object] = {
        "state": HALTED,
        "kind": HaltKind.PERSON,
        "reason": "because",
        "started_by": "me",
        "started_at": AT,
    }
    with pytest.raises(ValueError, match=r"was|ends at"):
        Halt(**values | changes)  # pyright: ignore[reportArgumentType] (what is wrong is tested)


async def halted(connection: "Connection | None", home: Path, why: str = "a rumour") -> None:
    await halt(connection, agent_id=AGENT, home=home, why=why, by="me", at=AT)


async def lost(connection: Connection, home: Path, *, hours: float = 0) -> bool:
    return (
        await halt_for_daily_loss(
            connection,
            agent_id=AGENT,
            home=home,
            why="lost 2000 USD",
            at=AT + timedelta(hours=hours),
            next_open=NEXT_OPEN,
            cycle_id=None,
        )
    ).repeated


async def now(connection: "Connection | None", home: Path, *, hours: float = 0) -> StateInForce:
    return await current(connection, AGENT, home, AT + timedelta(hours=hours))


async def test_an_agent_of_which_nothing_is_said_is_active(
    trading_connection: Connection, tmp_path: Path
) -> None:
    assert await now(trading_connection, tmp_path) == StateInForce(state=ACTIVE, reasons=())
    assert not state_file(tmp_path, AGENT).exists()


async def test_a_halt_stands_in_both_places_until_a_person_resumes(
    trading_connection: Connection, tmp_path: Path
) -> None:
    await halted(trading_connection, tmp_path)
    by_both = await now(trading_connection, tmp_path, hours=24 * 365)
    by_file = await now(None, tmp_path)
    lifted = await resume(
        trading_connection, agent_id=AGENT, home=tmp_path, why="denied", by="you", at=at(60)
    )
    row = await trading_connection.fetchrow("SELECT lifted_by, lifted_why FROM halts")

    assert by_both.state is by_file.state is HALTED
    assert by_both.reasons == by_file.reasons == lifted
    assert "a rumour" in lifted[0]
    assert (await now(trading_connection, tmp_path)).state is ACTIVE
    assert row is not None
    assert tuple(row) == ("you", "denied")


async def test_reducing_is_laxer_than_halted_and_does_not_lift_it(
    trading_connection: Connection, tmp_path: Path
) -> None:
    await reduce(trading_connection, agent_id=AGENT, home=tmp_path, why="slow", by="me", at=AT)
    first = await now(trading_connection, tmp_path)
    await halted(trading_connection, tmp_path)
    await reduce(trading_connection, agent_id=AGENT, home=tmp_path, why="slow", by="me", at=AT)

    assert first.state is REDUCING
    assert (await now(trading_connection, tmp_path)).state is HALTED
    assert (await now(None, tmp_path)).state is HALTED


async def test_a_halt_needs_no_database_and_holds_when_it_is_back(
    trading_connection: Connection, tmp_path: Path
) -> None:
    recorded = await halt(None, agent_id=AGENT, home=tmp_path, why="fire", by="me", at=AT)

    assert recorded.database_problem == "the database was not asked"
    assert (await now(trading_connection, tmp_path)).state is HALTED


async def test_a_database_that_goes_away_does_not_keep_a_halt_from_holding(
    trading_connection: Connection, tmp_path: Path
) -> None:
    await trading_connection.close()
    recorded = await halt(
        trading_connection, agent_id=AGENT, home=tmp_path, why="fire", by="me", at=AT
    )

    assert "went away" in (recorded.database_problem or "")
    assert (await now(None, tmp_path)).state is HALTED
    with pytest.raises(DatabaseUnavailable):
        await resume(trading_connection, agent_id=AGENT, home=tmp_path, why="out", by="me", at=AT)
    assert (await now(None, tmp_path)).state is HALTED


async def test_a_file_that_cannot_be_written_does_not_keep_a_halt_from_holding(
    trading_connection: Connection, tmp_path: Path
) -> None:
    (tmp_path / "state").write_text("in the way")
    recorded = await halt(
        trading_connection, agent_id=AGENT, home=tmp_path, why="fire", by="me", at=AT
    )

    assert "cannot be changed" in (recorded.file_problem or "")
    assert (await now(trading_connection, tmp_path)).state is HALTED
    with pytest.raises(ConfigError, match="cannot be changed"):
        await halted(None, tmp_path)


async def test_a_halt_that_is_only_in_the_database_survives_the_loss_of_the_file(
    trading_connection: Connection, tmp_path: Path
) -> None:
    await halted(trading_connection, tmp_path)
    forget(tmp_path, AGENT)
    forget(tmp_path, AGENT)

    assert (await now(trading_connection, tmp_path)).state is HALTED


GARBAGE = {
    "empty": "",
    "torn": '{"agent": "rehearsal", "halts": [{"sta',
    "another shape": "[]",
    "not even that": "7",
    "another agent's": json.dumps({"agent": "other", "halts": []}),
    "an unknown state": json.dumps({"agent": AGENT, "halts": [{"state": "resting"}]}),
    "a naive time": json.dumps(
        {
            "agent": AGENT,
            "halts": [
                {
                    "state": "halted",
                    "kind": "person",
                    "reason": "r",
                    "started_by": "me",
                    "started_at": "2026-06-15T14:30:00",
                    "expires_at": None,
                }
            ],
        }
    ),
    "numbers for words": json.dumps(
        {
            "agent": AGENT,
            "halts": [
                {
                    "state": "halted",
                    "kind": "person",
                    "reason": 7,
                    "started_by": "me",
                    "started_at": "2026-06-15T14:30:00+00:00",
                    "expires_at": None,
                }
            ],
        }
    ),
    "halts that are a number": json.dumps({"agent": AGENT, "halts": 7}),
}


@pytest.mark.parametrize("text", GARBAGE.values(), ids=list(GARBAGE))
async def test_garbage_in_the_file_is_a_halt_that_only_a_person_lifts(
    text: str, trading_connection: Connection, tmp_path: Path
) -> None:
    path = state_file(tmp_path, AGENT)
    path.parent.mkdir()
    path.write_text(text)
    found = await now(trading_connection, tmp_path)
    await reduce(trading_connection, agent_id=AGENT, home=tmp_path, why="slow", by="me", at=AT)
    reduced = await now(trading_connection, tmp_path)
    lifted = await resume(
        trading_connection, agent_id=AGENT, home=tmp_path, why="looked", by="me", at=AT
    )

    assert found.state is HALTED
    assert str(path) in found.reasons[0]
    assert reduced.state is HALTED
    assert len(lifted) == 2
    assert (await now(trading_connection, tmp_path)).state is ACTIVE


async def test_resuming_replaces_a_file_that_is_garbage(
    trading_connection: Connection, tmp_path: Path
) -> None:
    path = state_file(tmp_path, AGENT)
    path.parent.mkdir()
    path.write_bytes(b"\xff\xfe")
    lifted = await resume(
        trading_connection, agent_id=AGENT, home=tmp_path, why="looked", by="me", at=AT
    )

    assert "makes no sense" in lifted[0]
    assert read_file(tmp_path, AGENT) == ()


def test_a_file_that_cannot_be_opened_is_unreadable(tmp_path: Path) -> None:
    state_file(tmp_path, AGENT).mkdir(parents=True)
    found: FileHalts = read_file(tmp_path, AGENT)

    assert isinstance(found, Unreadable)
    assert "cannot be read: Is a directory" in found.why


async def test_a_daily_loss_is_noted_and_mailed_once(
    trading_connection: Connection, tmp_path: Path
) -> None:
    repeated = [await lost(trading_connection, tmp_path, hours=hours) for hours in (0, 1, 2)]
    alerts = await queued_alerts(trading_connection, AGENT)
    file = read_file(tmp_path, AGENT)

    assert repeated == [False, True, True]
    assert [alert.subject for alert in alerts] == ["rehearsal is halted: lost 2000 USD"]
    assert "ends by itself" in alerts[0].body
    assert isinstance(file, tuple)
    assert len(file) == 1
    assert (await now(trading_connection, tmp_path, hours=22.9)).state is HALTED
    assert (await now(trading_connection, tmp_path, hours=23)).state is ACTIVE


async def test_the_end_of_a_daily_loss_does_not_end_a_persons_halt(
    trading_connection: Connection, tmp_path: Path
) -> None:
    await lost(trading_connection, tmp_path)
    await halted(trading_connection, tmp_path)
    found = await now(trading_connection, tmp_path, hours=24)

    assert found.state is HALTED
    assert len(found.reasons) == 1
    assert "a rumour" in found.reasons[0]


async def test_a_daily_loss_that_was_lifted_by_a_person_can_come_again(
    trading_connection: Connection, tmp_path: Path
) -> None:
    await lost(trading_connection, tmp_path)
    await resume(
        trading_connection, agent_id=AGENT, home=tmp_path, why="a split", by="me", at=at(60)
    )
    repeated = await lost(trading_connection, tmp_path, hours=1)

    assert not repeated
    assert (await now(trading_connection, tmp_path, hours=2)).state is HALTED


async def test_an_unresolved_matter_halts_is_mailed_and_does_not_end_by_itself(
    trading_connection: Connection, tmp_path: Path
) -> None:
    await halt(
        trading_connection,
        agent_id=AGENT,
        home=tmp_path,
        why="the broker shows 7 shares of ACME",
        by="startup_monitor",
        at=AT,
        kind=HaltKind.UNRESOLVED,
    )
    (alert,) = await queued_alerts(trading_connection, AGENT)

    assert "Only a person lifts it" in alert.body
    assert (await now(trading_connection, tmp_path, hours=24 * 365)).state is HALTED


async def test_what_a_person_orders_is_not_mailed_to_them(
    trading_connection: Connection, tmp_path: Path
) -> None:
    await halted(trading_connection, tmp_path)

    assert await queued_alerts(trading_connection, AGENT) == ()


async def test_resuming_needs_a_reason_and_says_when_there_was_nothing_to_lift(
    trading_connection: Connection, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="only for a reason"):
        await resume(trading_connection, agent_id=AGENT, home=tmp_path, why=" ", by="me", at=AT)

    nothing = await resume(
        trading_connection, agent_id=AGENT, home=tmp_path, why="why not", by="me", at=AT
    )

    assert nothing == ()


async def test_a_halt_of_another_agent_is_not_ours(
    trading_connection: Connection, tmp_path: Path
) -> None:
    await halt(trading_connection, agent_id="other", home=tmp_path, why="theirs", by="me", at=AT)

    assert (await now(trading_connection, tmp_path)).state is ACTIVE


def test_halts_written_by_many_processes_at_once_are_all_kept(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from datetime import UTC, datetime\n"
        "from pathlib import Path\n"
        "from shared.trading_state import halt\n"
        "at = datetime(2026, 6, 15, 14, 30, tzinfo=UTC)\n"
        "for number in range(10):\n"
        "    asyncio.run(halt(None, agent_id='rehearsal', home=Path(sys.argv[1]),\n"
        "                     why=f'{sys.argv[2]}-{number}', by='me', at=at))\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, tmp_path, str(name)], cwd=PROJECT)
        for name in range(3)
    ]
    codes = [process.wait(timeout=60) for process in started]
    kept = read_file(tmp_path, AGENT)

    assert codes == [0, 0, 0]
    assert isinstance(kept, tuple)
    assert {one.reason for one in kept} == {f"{a}-{b}" for a in range(3) for b in range(10)}


async def test_halts_of_before_the_states_are_halts_of_persons_unless_they_run_out(
    empty_database_url: str,
) -> None:
    connection = await open_connection(empty_database_url)
    try:
        await apply(connection, known(DatabaseKind.TRADING)[:2])
        await connection.execute(
            "INSERT INTO halts"
            " (agent_id, reason, started_by, started_at, expires_at, lifted_at, lifted_by) VALUES"
            " ($1, 'said', 'me', $2, NULL, NULL, NULL), ($1, 'lost', 'safety', $2, $3, NULL, NULL),"
            " ($1, 'over', 'me', $2, NULL, $2, 'me')",
            AGENT,
            AT,
            NEXT_OPEN,
        )
        await migrate(connection, DatabaseKind.TRADING)
        rows = await halts_in_force(connection, AGENT, AT)
    finally:
        await connection.close()

    assert [(row.reason, row.state, row.kind) for row in rows] == [
        ("said", HALTED, HaltKind.PERSON),
        ("lost", HALTED, HaltKind.DAILY_LOSS),
    ]
