"""`python -m shared.embedded_postgres {start,stop,status}`: the same calls, for people and make."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from shared.embedded_postgres.lifecycle import ensure_running, status, stop
from shared.errors import CatalystError, ConfigError
from shared.paths import data_directory

_NOT_RUNNING = 3
"""What `status` answers, as pg_ctl and the Linux Standard Base do."""


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Do one thing, say it in one sentence, and return the exit code.

    0 done or running, 1 failed, 2 the operator must correct something, 3 `status`: not running.
    """
    parser = argparse.ArgumentParser(prog="python -m shared.embedded_postgres", description=__doc__)
    parser.add_argument("action", choices=["start", "stop", "status"])
    parser.add_argument(
        "--directory", type=Path, help="default: the data directory of CATALYST_HOME"
    )
    options = parser.parse_args(arguments)
    try:
        directory: Path = options.directory or data_directory(environ)
        sentence, code = _act(options.action, directory, environ)
    except ConfigError as e:
        sentence, code = str(e), 2
    except CatalystError as e:
        sentence, code = str(e), 1
    stream = sys.stdout if code in {0, _NOT_RUNNING} else sys.stderr
    stream.write(f"{sentence}\n")
    return code


def _act(action: str, directory: Path, environ: Mapping[str, str]) -> tuple[str, int]:
    if action == "stop":
        ended = stop(directory)
        return f"PostgreSQL in {directory} {'was stopped' if ended else 'was not running'}.", 0
    server = ensure_running(directory, environ=environ) if action == "start" else status(directory)
    if server is None:
        return f"PostgreSQL in {directory} is not running.", _NOT_RUNNING
    return f"PostgreSQL {server.version} in {directory} runs as process {server.pid}.", 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
