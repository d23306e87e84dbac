"""Whether a process id still is the postmaster of one data directory; a number alone proves nothing."""

from pathlib import Path


def is_postmaster(pid: int, data: Path) -> bool:
    """Tell whether this living process was started as `.../postgres -D data`."""
    executable, found, _ = f"{command_line(pid)} ".partition(f" -D {data} ")
    return bool(found) and Path(executable).name in {"postgres", "postmaster"}


def command_line(pid: int) -> str:
    """Return a process's arguments joined by spaces; empty when it is gone or a zombie."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return "" if Path("/proc/self/cmdline").exists() else _command_line_by_ps(pid)
    return arguments.rstrip(b"\0").replace(b"\0", b" ").decode(errors="surrogateescape")


def _command_line_by_ps(pid: int) -> str:
    import subprocess  # only where there is no /proc

    listing = subprocess.run(  # noqa: S603 -- its only variable part is a number
        ["/bin/ps", "-ww", "-o", "stat=", "-o", "args=", "-p", str(pid)],
        capture_output=True,
        check=False,
        text=True,
        timeout=10,
    )
    state, _, arguments = listing.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else arguments.strip()
