"""The commit that a cycle's row names."""

import subprocess
from pathlib import Path

from shared.version import code_version

GIT = ["git", "-c", "user.name=x", "-c", "user.email=x@example.invalid"]


def commit(folder: Path) -> str:
    for arguments in (
        ["init", "-q", "-b", "main"],
        ["commit", "-q", "--allow-empty", "-m", "one"],
    ):
        subprocess.run([*GIT, *arguments], cwd=folder, check=True)
    return subprocess.run(
        [*GIT, "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_checkout_names_its_commit_however_it_is_kept(tmp_path: Path) -> None:
    wanted = commit(tmp_path)
    loose = code_version(tmp_path)
    subprocess.run([*GIT, "pack-refs", "--all"], cwd=tmp_path, check=True)
    packed = code_version(tmp_path)
    subprocess.run([*GIT, "checkout", "-q", "--detach"], cwd=tmp_path, check=True)

    assert loose == packed == code_version(tmp_path) == wanted


def test_a_folder_without_a_repository_has_no_version(tmp_path: Path) -> None:
    assert code_version(tmp_path) is None
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("garbage")
    assert code_version(tmp_path) is None
