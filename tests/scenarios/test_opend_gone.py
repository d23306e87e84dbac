"""Every program as a process of its own at an OpenD that is absent, unknown, silent, or dies at some message."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from Crypto.PublicKey import RSA

from shared.paths import PROJECT
from tests.fixtures.intl_claude import IntlClaude
from tests.simulators.opend.wire import Protocol, Wire, WireFault

MOMENT = "2026-12-21T02:00:00+00:00"
TRADE = ("unified_agent", "--mode", "trade", "--brain", "stand-in")
COMPARE = ("startup_monitor",)
WATCH = ("position_monitor", "--once", "--brain", "stand-in")
CLOSE = ("unified_agent", "--mode", "close", "--force", "--brain", "stand-in")
SCAN = ("unified_agent", "--mode", "scan", "--force", "--brain", "stand-in")
AGENT = ("--agent", "intl_claude", "--json")
BOUND_SECONDS = 45.0
"""Two bounds of the opening, three tries of a read, and a loaded machine."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a process ended, by itself."""

    exit_code: int
    seconds: float
    said: dict[str, Any]
    errors: str


def run(agent: IntlClaude, program: tuple[str, ...], **environ: str) -> Ended:
    """Start a program as cron does, at ten in Hong Kong, and wait for its end."""
    name, *arguments = program
    began = monotonic()
    process = subprocess.run(
        [sys.executable, "-m", "tests.at", MOMENT, name, *arguments, *AGENT],
        cwd=PROJECT,
        env=agent.environ | environ,
        capture_output=True,
        text=True,
        timeout=2 * BOUND_SECONDS,
        check=False,
    )
    return Ended(
        exit_code=process.returncode,
        seconds=monotonic() - began,
        said=json.loads(process.stdout.splitlines()[-1]),
        errors=process.stderr,
    )


def nothing_was_sent(agent: IntlClaude) -> None:
    assert agent.venue.orders() == ()
    assert agent.venue.asked(Protocol.PLACE_ORDER) == []


@pytest.mark.parametrize(
    ("program", "exit_code"),
    [(TRADE, 1), (SCAN, 1), (COMPARE, 1), (WATCH, 0)],
    ids=["trade", "scan", "startup", "monitor"],
)
def test_absent_each_program_says_what_to_start_and_ends(
    intl_claude: IntlClaude, program: tuple[str, ...], exit_code: int
) -> None:
    intl_claude.venue.listen(listens=False)
    ended = run(intl_claude, program)

    assert ended.exit_code == exit_code, ended
    assert "OpenD does not answer at 127.0.0.1" in ended.said["reason"]
    assert "start it and see that it is logged in" in ended.said["reason"]
    assert ended.seconds < BOUND_SECONDS
    nothing_was_sent(intl_claude)


def test_absent_a_close_that_has_something_to_close_says_so_too(holding_intl: IntlClaude) -> None:
    holding_intl.venue.listen(listens=False)
    ended = run(holding_intl, CLOSE)

    assert ended.exit_code == 1, ended
    assert "OpenD does not answer at 127.0.0.1" in ended.said["reason"]
    assert ended.seconds < BOUND_SECONDS


@pytest.mark.parametrize(
    ("program", "exit_code"),
    [(TRADE, 1), (COMPARE, 1), (WATCH, 0)],
    ids=["trade", "startup", "monitor"],
)
def test_silent_each_program_ends_in_its_time(
    intl_claude: IntlClaude, program: tuple[str, ...], exit_code: int
) -> None:
    intl_claude.venue.inject(
        WireFault(wire=Wire.SILENCE, protocol=Protocol.INIT_CONNECT, times=None)
    )
    ended = run(intl_claude, program)

    assert ended.exit_code == exit_code, ended
    assert "it accepts connections and is silent" in ended.said["reason"]
    assert ended.seconds < BOUND_SECONDS
    nothing_was_sent(intl_claude)


@pytest.mark.parametrize(
    ("program", "exit_code"),
    [(COMPARE, 1), (WATCH, 0)],
    ids=["startup", "monitor"],
)
def test_a_host_that_nobody_knows_is_named(
    intl_claude: IntlClaude, tmp_path: Path, program: tuple[str, ...], exit_code: int
) -> None:
    key = tmp_path / "opend.pem"
    key.write_bytes(RSA.generate(1024).export_key())  # noqa: S505 (OpenD takes no longer one)
    elsewhere = {
        "MOOMOO_SIMULATOR": "",
        "MOOMOO_HOST": "opend.invalid",
        "MOOMOO_RSA_KEY_FILE": str(key),
    }
    words = tuple(word for word in program if word not in {"--brain", "stand-in"})
    ended = run(intl_claude, words, **elsewhere)

    assert ended.exit_code == exit_code, ended
    assert "the host 'opend.invalid' of OpenD has no address" in ended.said["reason"]
    assert ended.seconds < BOUND_SECONDS


@pytest.mark.parametrize(
    "protocol",
    [
        Protocol.INIT_CONNECT,
        Protocol.GET_GLOBAL_STATE,
        Protocol.GET_ACC_LIST,
        Protocol.GET_FUNDS,
        Protocol.GET_POSITION_LIST,
        Protocol.GET_ORDER_LIST,
        Protocol.GET_HISTORY_ORDER_LIST,
    ],
)
def test_dying_at_any_message_before_an_order_the_run_ends_and_nothing_was_sent(
    watched_intl: IntlClaude, protocol: Protocol
) -> None:
    watched_intl.venue.inject(WireFault(wire=Wire.DIE, protocol=protocol))
    ended = run(watched_intl, TRADE)

    assert ended.exit_code == 1, ended
    assert "OpenD" in ended.said["reason"]
    assert ended.seconds < BOUND_SECONDS
    nothing_was_sent(watched_intl)


@pytest.mark.parametrize(
    "protocol",
    [
        Protocol.GET_STATIC_INFO,
        Protocol.GET_SECURITY_SNAPSHOT,
        Protocol.STOCK_FILTER,
        Protocol.REQUEST_HISTORY_KL,
        Protocol.REQUEST_TRADE_DATE,
    ],
)
def test_dying_at_a_question_about_the_market_the_run_ends(
    watched_intl: IntlClaude, protocol: Protocol
) -> None:
    watched_intl.venue.inject(WireFault(wire=Wire.DIE, protocol=protocol))
    ended = run(watched_intl, TRADE)

    assert ended.exit_code in {0, 1}, ended
    assert ended.said["status"] in {"done", "failed"}
    assert ended.seconds < 2 * BOUND_SECONDS
    nothing_was_sent(watched_intl)


@pytest.mark.parametrize("executes", [True, False], ids=["after", "before"])
def test_dying_at_the_order_itself_it_is_there_once_or_never(
    watched_intl: IntlClaude, *, executes: bool
) -> None:
    watched_intl.venue.let_clock_run()
    watched_intl.venue.inject(
        WireFault(wire=Wire.DIE, protocol=Protocol.PLACE_ORDER, executes=executes)
    )
    ended = run(watched_intl, TRADE)
    [row] = watched_intl.rows("SELECT status FROM orders")

    assert ended.exit_code == 1, ended
    assert row["status"] == "unknown"
    assert len(watched_intl.venue.asked(Protocol.PLACE_ORDER)) == 1
    assert len(watched_intl.venue.orders()) == int(executes)
    assert ended.seconds < BOUND_SECONDS
