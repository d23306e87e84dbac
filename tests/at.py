"""Runs one of the programs as cron does, at another time than the wall's, at a simulator that counts nothing.

`python -m tests.at 2026-12-21T02:00:00+00:00 unified_agent --agent intl_claude --mode trade`
"""

import sys
from datetime import datetime
from importlib import import_module

from shared import opend_limits
from shared.clock import RunningClock


def main() -> int:
    """Call a program's own main with a clock that was set."""
    moment, program, *arguments = sys.argv[1:]
    opend_limits.WINDOW_SECONDS = 0.0
    clock = RunningClock(datetime.fromisoformat(moment))
    code: int = import_module(program).main(arguments, clock=clock)
    return code


if __name__ == "__main__":
    sys.exit(main())
