import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from shared.paths import PROJECT


def python(
    *arguments: str, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        check=False,
        cwd=PROJECT,
        env=os.environ | (environ or {}),
        text=True,
        timeout=60,
    )


def command(action: str, directory: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    arguments = ("-m", "shared.embedded_postgres", action, "--directory", str(directory))
    return python(*arguments, environ=environ)


def test_each_command_says_one_sentence_and_answers_by_its_exit_code(home: Path) -> None:
    expected = [
        ("status", 3, f"PostgreSQL in {home} is not running."),
        ("start", 0, f"PostgreSQL 18 in {home} runs as process "),
        ("start", 0, f"PostgreSQL 18 in {home} runs as process "),
        ("status", 0, f"PostgreSQL 18 in {home} runs as process "),
        ("stop", 0, f"PostgreSQL in {home} was stopped."),
        ("stop", 0, f"PostgreSQL in {home} was not running."),
    ]
    for action, code, sentence in expected:
        answer = command(action, home)
        assert (answer.returncode, answer.stderr, answer.stdout.count("\n")) == (code, "", 1)
        assert answer.stdout.startswith(sentence)


def test_a_command_that_needs_the_operator_says_why_and_answers_2(home: Path) -> None:
    answer = command("start", home, CATALYST_POSTGRES_BIN="/nowhere")

    assert answer.returncode == 2
    assert answer.stderr == "/nowhere does not hold both postgres and initdb\n"
    assert python("-m", "shared.embedded_postgres", "dance").returncode == 2


def test_a_command_that_fails_says_why_and_answers_1(home: Path) -> None:
    (home / "postgres" / "global" / "pg_control").unlink()
    answer = command("start", home)

    assert answer.returncode == 1
    assert "pg_control" in answer.stderr
