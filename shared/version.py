"""Which commit is running, read from the checkout without starting git."""

from pathlib import Path

_HASH_LENGTH = 40


def code_version(project: Path) -> str | None:
    """Return the commit that is checked out, or None outside a git checkout; local changes do not show."""
    git = project / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return _hash(head)
        return _hash(_reference(git, head.removeprefix("ref: ")))
    except OSError:
        return None


def _reference(git: Path, name: str) -> str:
    loose = git / name
    if loose.is_file():
        return loose.read_text().strip()
    packed = (line.split() for line in (git / "packed-refs").read_text().splitlines())
    return next((words[0] for words in packed if words[1:] == [name]), "")


def _hash(text: str) -> str | None:
    return text if len(text) == _HASH_LENGTH else None
