"""A backup that is put back: every row, in one piece or not at all."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from pydantic import ValidationError

from shared import migrate, trading_state
from shared.care.archive import ArchiveWriter, open_archive
from shared.care.databases import open_alone
from shared.care.load import RestoreFailed
from shared.care.manifest import DatabasePart, FilePart, Manifest, TablePart
from shared.care.ours import SEEDED, tables
from shared.care.restore import restore
from shared.database.connection import Connection
from shared.embedded_postgres import Server
from shared.errors import Busy, CatalystError, ConfigError
from shared.operate.place import Place
from shared.sql import DatabaseKind
from tests.fixtures.care import (
    LATER,
    PlayedBackup,
    backed_up,
    numbers,
    remote,
    restored,
    rows,
    rows_of,
)
from tests.fixtures.databases import drop_database as drop_test_database
from tests.fixtures.databases import new_database, open_connection

TRADING, RESEARCH = DatabaseKind.TRADING, DatabaseKind.RESEARCH
BOTH = (TRADING, RESEARCH)
CHANGED = {"database_identity", "agent_locks", "halts", "reconciliations", "alerts"}
"""Tables that a restore adds to or changes on purpose."""


async def table_names(url: str) -> list[str]:
    return sorted(await rows(url))


async def test_every_row_of_a_played_database_comes_back(
    played: PlayedBackup, new_place: Place, empty_urls: tuple[str, str]
) -> None:
    await restored(new_place, played.path)
    trading, research = [await rows(url) for url in empty_urls]

    assert {name: found for name, found in trading.items() if name not in CHANGED} == {
        name: found for name, found in played.trading.items() if name not in CHANGED
    }
    assert research == played.research
    assert all(played.trading[name] for name in ("orders", "fills", "positions", "decisions"))
    # what a restore adds comes on top of what was there
    for name in ("halts", "reconciliations", "alerts"):
        assert set(played.trading[name]) < set(trading[name])
    assert await numbers(empty_urls[1]) == played.research_numbers
    ahead = {"halts_halt_id_seq", "reconciliations_reconciliation_id_seq", "alerts_alert_id_seq"}
    found = await numbers(empty_urls[0])
    assert {n: v for n, v in found.items() if n not in ahead} == {
        n: v for n, v in played.numbers.items() if n not in ahead
    }


async def test_new_rows_get_numbers_that_no_row_has(
    played: PlayedBackup, new_place: Place, empty_urls: tuple[str, str]
) -> None:
    await restored(new_place, played.path)
    connection = await open_connection(empty_urls[0])
    highest: int = await connection.fetchval("SELECT max(order_id) FROM orders")
    new: int = await connection.fetchval("SELECT nextval('orders_order_id_seq')")
    await connection.close()

    assert new == highest + 1


async def test_what_a_new_server_gave_an_old_one_takes(
    played: PlayedBackup, postgres_15_server: Server, tmp_path: Path
) -> None:
    names = [await new_database(postgres_15_server) for _ in range(2)]
    urls = [postgres_15_server.dsn(name) for name in names]
    old = remote(tmp_path, urls[0], urls[1])
    await restored(old, played.path)
    trading = await rows(urls[0])
    again = await backed_up(old)
    for name in names:
        await drop_test_database(postgres_15_server, name)

    with open_archive(again) as archive:
        assert archive.manifest.database(TRADING).server_version.startswith("15.")
    assert trading["orders"] == played.trading["orders"]
    assert trading["cycle_transcripts"] == played.trading["cycle_transcripts"]


async def test_a_database_that_was_migrated_and_never_used_is_filled_too(
    played: PlayedBackup, tmp_path: Path, trading_database_url: str, research_database_url: str
) -> None:
    await restored(remote(tmp_path, trading_database_url, research_database_url), played.path)

    assert (await rows(trading_database_url))["orders"] == played.trading["orders"]


@pytest.mark.parametrize("kind", BOTH)
async def test_what_is_ours_is_what_a_migrated_database_has(
    kind: DatabaseKind, trading_connection: Connection, research_connection: Connection
) -> None:
    connection = {TRADING: trading_connection, RESEARCH: research_connection}[kind]
    found = await rows_of(connection)

    assert set(found) == tables(kind)
    assert {name for name, there in found.items() if there} == SEEDED & set(found)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "INSERT INTO budget_days VALUES ('someone', '2026-06-15', 1, 0, 0, 0)",
            "the trading database is not empty: budget_days has rows",
        ),
        (
            "CREATE TABLE guests AS SELECT 1 AS one",
            "has tables that are not Catalyst's, such as guests",
        ),
    ],
)
async def test_a_database_in_use_is_refused_and_stays_as_it_is(
    statement: str,
    words: str,
    played: PlayedBackup,
    tmp_path: Path,
    trading_database_url: str,
    research_database_url: str,
) -> None:
    connection = await open_connection(trading_database_url)
    await connection.execute(statement)
    await connection.close()
    before = await rows(trading_database_url), await rows(research_database_url)
    with pytest.raises(ConfigError, match=words):
        await restored(remote(tmp_path, trading_database_url, research_database_url), played.path)

    assert (await rows(trading_database_url), await rows(research_database_url)) == before
    assert not trading_state.state_file(tmp_path, "rehearsal").exists()


async def test_one_database_can_be_restored_alone(
    played: PlayedBackup, tmp_path: Path, empty_database_url: str, research_database_url: str
) -> None:
    connection = await open_connection(research_database_url)
    await connection.execute(
        "INSERT INTO sync_log VALUES (DEFAULT, 'a', 'b', 1, 'c', 2, now(), 'me')"
    )
    await connection.close()
    new_place = remote(tmp_path, empty_database_url, research_database_url)
    with pytest.raises(ConfigError, match="the research database is not empty: sync_log"):
        await restored(new_place, played.path)
    assert await table_names(empty_database_url) == []

    done = await restored(new_place, played.path, (TRADING,))

    assert done.kinds == (TRADING,)
    assert (await rows(empty_database_url))["orders"] == played.trading["orders"]
    assert len((await rows(research_database_url))["sync_log"]) == 1


async def test_a_backup_of_somebody_else_is_refused(
    played: PlayedBackup, new_place: Place, empty_urls: tuple[str, str], tmp_path: Path
) -> None:
    path = rewritten(played.path, tmp_path, lambda it: it.model_copy(update={"agent_id": "other"}))
    with pytest.raises(ConfigError, match="the backup is of other, and this is rehearsal"):
        await restored(new_place, path)

    assert await table_names(empty_urls[0]) == []


async def test_a_backup_of_a_later_schema_is_refused(
    played: PlayedBackup, new_place: Place, empty_urls: tuple[str, str], tmp_path: Path
) -> None:
    def of_later(part: DatabasePart) -> DatabasePart:
        later = (*part.migrations, ("9999_future.sql", "x"))
        return part.model_copy(update={"migrations": later})

    path = rewritten(played.path, tmp_path, with_trading(of_later))
    with pytest.raises(ConfigError, match=r"cannot be restored by this code.*9999_future\.sql"):
        await restored(new_place, path)

    assert await table_names(empty_urls[0]) == []


async def test_rows_that_the_database_refuses_leave_it_and_the_machine_as_they_were(
    played: PlayedBackup, new_place: Place, empty_urls: tuple[str, str], tmp_path: Path
) -> None:
    """Reversed, rows come before those that they refer to."""

    def backwards(part: DatabasePart) -> DatabasePart:
        return part.model_copy(update={"tables": part.tables[::-1]})

    path = rewritten(played.path, tmp_path, with_trading(backwards))
    with pytest.raises(CatalystError, match="the trading database refused the backup"):
        await restored(new_place, path)

    assert await table_names(empty_urls[0]) == await table_names(empty_urls[1]) == []
    assert not (tmp_path / "state").exists()
    assert not (tmp_path / "journal").exists()


async def test_a_table_that_takes_other_rows_than_the_backup_has_is_refused(
    played: PlayedBackup, new_place: Place, empty_urls: tuple[str, str], tmp_path: Path
) -> None:
    """A last line without its end is a row to the server, and none by the backup's own count."""
    with open_archive(played.path) as archive:
        content = archive.content(archive.manifest.database(TRADING).piece_of("fills"))[:-1]

    def without_an_end(part: DatabasePart) -> DatabasePart:
        changed = [fitted(t, content) if t.name == "fills" else t for t in part.tables]
        return part.model_copy(update={"tables": tuple(changed)})

    path = rewritten(
        played.path,
        tmp_path,
        with_trading(without_an_end),
        contents={"trading/fills.copy": content},
    )
    with pytest.raises(RestoreFailed, match=r"fills took \d+ rows, the backup has \d+"):
        await restored(new_place, path)

    assert await table_names(empty_urls[0]) == []


def fitted(table: TablePart, content: bytes) -> TablePart:
    """Say of a table what its content is."""
    changed = {
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "lines": content.count(b"\n"),
    }
    return table.model_copy(update={"piece": table.piece.model_copy(update=changed)})


async def test_a_sequence_that_lies_behind_its_rows_is_refused(
    played: PlayedBackup, new_place: Place, empty_urls: tuple[str, str], tmp_path: Path
) -> None:
    def behind(part: DatabasePart) -> DatabasePart:
        return part.model_copy(update={"sequences": {**part.sequences, "orders_order_id_seq": 1}})

    path = rewritten(played.path, tmp_path, with_trading(behind))
    with pytest.raises(ConfigError, match=r"orders\.order_id has numbers above the last one"):
        await restored(new_place, path)

    assert await table_names(empty_urls[0]) == []


@pytest.mark.parametrize("is_migrated", [False, True])
async def test_a_backup_of_an_older_schema_is_brought_up(
    is_migrated: bool,
    tmp_path: Path,
    empty_urls: tuple[str, str],
    empty_database_url: str,
    research_database_url: str,
) -> None:
    if is_migrated:  # to the newest schema, and never used
        connection = await open_connection(empty_urls[0])
        await migrate.migrate(connection, TRADING)
        await connection.close()
    connection = await open_connection(empty_database_url)
    await migrate.apply(connection, migrate.known(TRADING)[:-1])
    await connection.execute("INSERT INTO budget_days VALUES ('a', '2026-06-15', 1, 0, 0, 0)")
    await connection.close()
    path = await backed_up(remote(tmp_path / "old", empty_database_url, research_database_url))

    await restored(remote(tmp_path / "new", *empty_urls), path, (TRADING,))
    connection = await open_connection(empty_urls[0])
    await migrate.check(connection, TRADING)
    kept = await connection.fetchval("SELECT count(*) FROM budget_days")
    await connection.close()

    assert kept == 1


@pytest.mark.parametrize("outside", ["../evil", "state/../../evil", "/etc/evil", "state/.evil"])
def test_no_backup_names_a_file_outside_its_folders(outside: str, played: PlayedBackup) -> None:
    with open_archive(played.path) as archive:
        piece = archive.manifest.files[0].piece
    with pytest.raises(ValidationError, match="pattern"):
        FilePart(path=outside, piece=piece)


async def test_somebody_at_work_on_another_machine_is_not_touched(
    played: PlayedBackup, new_place: Place, empty_urls: tuple[str, str]
) -> None:
    with open_archive(played.path) as archive:
        async with open_alone(new_place) as connections:
            with pytest.raises(Busy, match="holds the database's lock"):
                async with open_alone(quick(new_place)):
                    pass
            await restore(new_place, connections, archive, kinds=BOTH, at=LATER)


def quick(place: Place) -> Place:
    """The same, without patience."""
    configuration = place.configuration
    locks = configuration.settings.locks.model_copy(update={"release_seconds": 0.1})
    settings = configuration.settings.model_copy(update={"locks": locks})
    return Place(
        configuration=configuration.model_copy(update={"settings": settings}),
        environ=place.environ,
        home=place.home,
        bookmark=None,
    )


def with_trading(
    change: Callable[[DatabasePart], DatabasePart],
) -> Callable[[Manifest], Manifest]:
    def changed(manifest: Manifest) -> Manifest:
        trading, research = manifest.databases
        return manifest.model_copy(update={"databases": (change(trading), research)})

    return changed


def rewritten(
    path: Path,
    folder: Path,
    change: Callable[[Manifest], Manifest],
    *,
    contents: Mapping[str, bytes] = MappingProxyType({}),
) -> Path:
    """Write a backup once more, sealed as it should be, with another manifest or other members."""
    target = folder / "rewritten.zip"
    with (
        open_archive(path) as archive,
        target.open("w+b") as file,
        ArchiveWriter(file) as writer,
    ):
        for piece in archive.manifest.pieces():
            with writer.member(piece.member) as member:
                member.write_now(contents.get(piece.member, archive.content(piece)))
        writer.close(change(archive.manifest))
    return target
