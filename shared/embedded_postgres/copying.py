"""Copies an installation to where the server's account can read it, completely or not at all."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path


def copy_once(source: Path, parts: Sequence[str], destination: Path) -> None:
    """Copy `parts`, relative paths below `source`, to the same places below the new `destination`.

    The relative places matter: the programs find their libraries and data from where they lie.
    """
    parent = destination.parent
    parent.mkdir(exist_ok=True)
    parent.chmod(0o755)
    for abandoned in parent.glob("unfinished-*"):
        shutil.rmtree(abandoned)
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=parent))
    needless = shutil.ignore_patterns("include", "pkgconfig", "pgxs", "*.a")
    for part in parts:
        shutil.copytree(source / part, unfinished / part, symlinks=True, ignore=needless)
    _open_to_all(unfinished)
    os.sync()  # a power cut must not leave the complete name over incomplete files
    unfinished.rename(destination)


def _open_to_all(top: Path) -> None:
    for path in (top, *top.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
