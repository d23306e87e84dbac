"""Which user the server runs as, since PostgreSQL refuses to run as root, and how to run as that user."""

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypedDict

from shared.errors import ConfigError, DatabaseUnavailable


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The user that the server's processes and files belong to."""

    uid: int
    gid: int

    def run(
        self,
        command: Sequence[str],
        *,
        errors: IO[bytes] | int,
        timeout_seconds: float,
        inherited: Sequence[int] = (),
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program as this account, in a session and an environment that owe nothing to ours.

        `errors` is where its standard error goes; of our open files it gets only the `inherited`.
        Raises DatabaseUnavailable when it takes too long.
        """
        try:
            return subprocess.run(  # noqa: S603 -- our own programs, and no shell parses a path
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd="/",
                env={"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"},
                umask=0o077,
                start_new_session=True,
                check=False,
                timeout=max(1.0, timeout_seconds),
                pass_fds=inherited,
                **self._identity(),
            )
        except subprocess.TimeoutExpired as e:
            raise DatabaseUnavailable(f"{command[0]} took more than {e.timeout:.0f} s") from e

    def give(self, path: Path) -> None:
        """Make a directory that we just created this account's."""
        if self.uid != os.geteuid():
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def open_log(self, path: Path) -> IO[bytes]:
        """Open a file of this account's for appending, created if need be."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        stream = os.fdopen(os.open(path, flags, 0o600), "ab")
        if self.uid != os.geteuid():
            os.fchown(stream.fileno(), self.uid, self.gid)
        return stream

    def blocked_at(self, path: Path) -> Path | None:
        """Return the first step on the way to and including `path` without x for us, or None."""
        for step in (*reversed(path.parents), path):
            if not self._may_enter(step):
                return step
        return None

    def _may_enter(self, step: Path) -> bool:
        status = step.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & 0o100)
        if status.st_gid == self.gid:
            return bool(status.st_mode & 0o010)
        return bool(status.st_mode & 0o001)

    def _identity(self) -> _Identity:
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def own_account() -> Account:
    """Return the account this process runs as."""
    return Account(uid=os.geteuid(), gid=os.getegid())


def server_account(data: Path) -> Account:
    """Return the account for a data directory: its owner's, and for a new one ours, or nobody's as root.

    `nobody` and not some unused number, because initdb refuses a user without a passwd entry and
    nothing here may add one. Raises ConfigError where we cannot run as the owner.
    """
    ourselves = own_account()
    owner = _owner(data)
    if ourselves.uid != 0:
        if owner is not None and owner.uid != ourselves.uid:
            raise ConfigError(
                f"{data} belongs to user {owner.uid}, and this is user {ourselves.uid}"
            )
        return ourselves
    if owner is None:
        nobody = pwd.getpwnam("nobody")
        return Account(uid=nobody.pw_uid, gid=nobody.pw_gid)
    if owner.uid == 0:
        raise ConfigError(f"{data} belongs to root, as whom PostgreSQL refuses to run")
    return owner


def require_entry(account: Account, directory: Path) -> None:
    """Raise ConfigError naming the directory that keeps the account out of `directory`."""
    blocked = account.blocked_at(directory)
    if blocked is not None:
        raise ConfigError(
            f"{blocked} cannot be entered by user {account.uid}, as whom PostgreSQL runs when root "
            f"starts it; set CATALYST_HOME to a directory that all may enter, like /var/lib/catalyst"
        )


def _owner(path: Path) -> Account | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return Account(uid=status.st_uid, gid=status.st_gid)
