"""The file of a backup: what was changed in any way is not believed."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.care.archive import ArchiveWriter, open_archive
from shared.care.manifest import DatabasePart, FilePart, Manifest, TablePart, decoded, encoded
from shared.errors import ConfigError
from shared.sql import DatabaseKind

MADE_AT = datetime(2026, 6, 15, 14, 0, tzinfo=UTC)
ROWS = b"".join(b"%d\tsome text\\nof two lines\n" % number for number in range(200))


@dataclass(frozen=True, slots=True)
class Written:
    """A small archive, and what its manifest says."""

    path: Path
    manifest: Manifest


def write(path: Path, change: Callable[[Manifest], Manifest] | None = None) -> Written:
    """Write an archive; its manifest may say something else than what went in."""
    with path.open("w+b") as file, ArchiveWriter(file) as writer:
        with writer.member("trading/one.copy") as table:
            table.write_now(ROWS[:1000])
            table.write_now(ROWS[1000:])
        with writer.member("files/state/a.json") as state:
            state.write_now(b"{}")
        part = DatabasePart(
            kind=DatabaseKind.TRADING,
            identity=None,
            server_version="18.4",
            migrations=(("0001_initial.sql", "x"),),
            tables=(TablePart(name="one", columns=("n", "t"), piece=table.piece),),
            sequences={"one_n_seq": 7},
        )
        manifest = Manifest(
            agent_id="agent",
            made_at=MADE_AT,
            host="here",
            code_version=None,
            databases=(part,),
            files=(FilePart(path="state/a.json", piece=state.piece),),
        )
        if change is not None:
            manifest = change(manifest)
        writer.close(manifest)
    return Written(path, manifest)


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught, open_archive(path):
        pass
    assert str(caught.value).startswith(f"{path} is no whole backup: ")
    return str(caught.value)


async def test_what_was_written_is_read(tmp_path: Path) -> None:
    written = write(tmp_path / "a.zip")
    with open_archive(written.path) as archive:
        [table] = archive.manifest.database(DatabaseKind.TRADING).tables
        chunks = [chunk async for chunk in archive.lines(table.piece)]
        state = archive.content(archive.manifest.files[0].piece)

    assert archive.manifest == written.manifest
    assert b"".join(chunks) == ROWS
    assert (table.piece.lines, table.piece.size) == (200, len(ROWS))
    assert state == b"{}"


def test_every_program_that_knows_zip_unpacks_it(tmp_path: Path) -> None:
    written = write(tmp_path / "a.zip")
    with zipfile.ZipFile(written.path) as archive:
        assert archive.testzip() is None
        assert archive.read("trading/one.copy") == ROWS


def test_no_byte_can_change_unnoticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip").path
    whole = path.read_bytes()
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1
        path.write_bytes(changed)
        assert "its checksum does not fit" in refused(path)


def test_no_part_is_taken_for_the_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip").path
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        refused(path)
    path.write_bytes(whole + b"\n")
    refused(path)


def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("holiday.jpg", b"x" * 1000)
    refused(path)

    with (
        pytest.raises(ConfigError, match="cannot be opened: No such file"),
        open_archive(tmp_path / "nowhere.zip"),
    ):
        pass


def another_fingerprint(manifest: Manifest) -> Manifest:
    return with_piece(manifest, sha256="0" * 64)


def another_count(manifest: Manifest) -> Manifest:
    return with_piece(manifest, lines=199)


def a_member_that_lacks(manifest: Manifest) -> Manifest:
    return with_piece(manifest, member="trading/two.copy")


def a_member_too_much(manifest: Manifest) -> Manifest:
    return manifest.model_copy(update={"files": ()})


def with_piece(manifest: Manifest, **changes: object) -> Manifest:
    [part] = manifest.databases
    [table] = part.tables
    changed = table.model_copy(update={"piece": table.piece.model_copy(update=changes)})
    return manifest.model_copy(
        update={"databases": (part.model_copy(update={"tables": (changed,)}),)}
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (another_fingerprint, "trading/one.copy is not what was written"),
        (another_count, "trading/one.copy is not what was written"),
        (a_member_that_lacks, "it does not hold what its manifest lists"),
        (a_member_too_much, "it does not hold what its manifest lists"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    change: Callable[[Manifest], Manifest], words: str, tmp_path: Path
) -> None:
    assert words in refused(write(tmp_path / "a.zip", change).path)


def test_a_manifest_is_read_as_it_was_written_or_not_at_all(tmp_path: Path) -> None:
    manifest = write(tmp_path / "a.zip").manifest
    content = encoded(manifest)

    assert decoded(content) == manifest
    assert decoded(content).sentence() == (
        "agent of 2026-06-15 14:00:00 UTC: trading at 0001_initial with 200 rows"
    )
    with pytest.raises(ConfigError, match="not what was written"):
        decoded(content.replace(b"one_n_seq", b"two_n_seq"))
    for garbage in (b"", b"[]", b"{}", b'{"body": 1, "sha256": 2}', content[:-20]):
        with pytest.raises(ConfigError):
            decoded(garbage)


def test_a_format_of_later_is_not_guessed_at(tmp_path: Path) -> None:
    later = write(tmp_path / "a.zip").manifest.model_copy(update={"format": 2})
    with pytest.raises(ConfigError, match="the manifest cannot be read"):
        decoded(encoded(later))


def test_a_writer_that_is_given_up_lets_the_file_go() -> None:
    file = io.BytesIO()
    with pytest.raises(RuntimeError), ArchiveWriter(file) as writer, writer.member("a"):
        raise RuntimeError
    file.close()
    del writer  # says nothing about a file that is closed, or the test fails by its warning
