"""What a run costs, as ratios to a bare Python start measured in the same breath.

`.venv/bin/python benchmarks/run_cost.py [ROUNDS]`; medians, so that trust goes to ratios, not digits.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

PROJECT = Path(__file__).resolve().parent.parent
AGENT = str(PROJECT / "unified_agent.py")


def main(rounds: int = 5) -> None:
    """Measure each command a few times, turn and turn about, and print seconds and ratios."""
    with tempfile.TemporaryDirectory(prefix="catalyst-benchmark-", dir="/tmp") as home:
        Path(home).chmod(0o711)
        environ = {**os.environ, "CATALYST_HOME": home}
        try:
            _report(_measure(rounds, environ))
        finally:
            subprocess.run(
                [sys.executable, "-m", "shared.embedded_postgres", "stop", "--directory", home],
                cwd=PROJECT,
                check=True,
            )


def _measure(rounds: int, environ: dict[str, str]) -> dict[str, list[float]]:
    commands = {
        "python -c pass": ["-c", "pass"],
        "import asyncpg": ["-c", "import asyncpg"],
        "import anthropic": ["-c", "import anthropic"],
        "heartbeat, nothing to do": [AGENT, "--mode", "heartbeat", "--force"],
        "scan, one tool": [AGENT, "--mode", "scan", "--force"],
    }
    _seconds([AGENT, "--mode", "scan"], environ)
    measured: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, arguments in commands.items():
            measured[name].append(_seconds(arguments, environ))
    return measured


def _seconds(arguments: Sequence[str], environ: dict[str, str]) -> float:
    started = perf_counter()
    subprocess.run(
        [sys.executable, *arguments], env=environ, cwd="/", check=True, capture_output=True
    )
    return perf_counter() - started


def _report(measured: dict[str, list[float]]) -> None:
    bare = statistics.median(measured["python -c pass"])
    for name, seconds in measured.items():
        median = statistics.median(seconds)
        sys.stdout.write(f"{name:28} {median:7.3f} s {median / bare:7.1f} x\n")
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    sys.stdout.write(f"{'largest process':28} {peak_mb:7.0f} MB\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
