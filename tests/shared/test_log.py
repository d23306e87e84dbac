import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from shared import log
from shared.clock import ManualClock
from shared.config import LoggingSettings
from shared.models import Mode
from shared.redaction import REDACTED, redactor

PROJECT = Path(__file__).resolve().parents[2]
NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)
SECRET = "pä ss/w\"o'r+d@1"  # noqa: S105 (nobody's)
events = log.get("tests.log")


@pytest.fixture(autouse=True)
def left_as_found() -> Iterator[None]:
    level = logging.getLogger().level
    yield
    log.tear_down()
    logging.getLogger().setLevel(level)


def begun(
    directory: Path, *, secrets: Sequence[str] = (), level: str = "INFO", **settings: Any
) -> log.LogOutcome:
    return log.set_up(
        LoggingSettings.model_validate({"directory": str(directory), "level": level, **settings}),
        project=PROJECT,
        secrets=secrets,
        agent_id="rehearsal",
        mode=Mode.TRADE,
        cycle_id="cycle-1",
        clock=ManualClock(NOON),
    )


def written(outcome: log.LogOutcome) -> list[dict[str, Any]]:
    return [json.loads(line) for line in outcome.path.read_text("utf-8").splitlines()]


@dataclass(frozen=True)
class Holding:
    symbol: str
    price: Decimal
    mode: Mode


class TestLines:
    def test_a_record_is_one_json_object_with_what_every_line_says(self, tmp_path: Path) -> None:
        outcome = begun(tmp_path)
        events.info("order_refused", symbol="AAPL", reason="too many positions")
        [line] = written(outcome)

        assert outcome.path == tmp_path / "rehearsal.jsonl"
        assert datetime.fromisoformat(line.pop("timestamp")).utcoffset() == timedelta(0)
        assert line == {
            "level": "INFO",
            "event": "order_refused",
            "agent": "rehearsal",
            "mode": "trade",
            "cycle_id": "cycle-1",
            "now": "2026-06-15T12:00:00Z",
            "logger": "tests.log",
            "symbol": "AAPL",
            "reason": "too many positions",
        }

    def test_people_get_one_readable_line(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        begun(tmp_path)
        events.warning(
            "order_refused", symbol="AAPL", reason="a=b c", price=Decimal("1.50"), legs=[1]
        )

        assert capsys.readouterr().err == (
            "2026-06-15T12:00:00Z WARNING order_refused "
            'symbol=AAPL reason="a=b c" price=1.50 legs=[1]\n'
        )

    def test_values_of_every_kind_are_written(self, tmp_path: Path) -> None:
        outcome = begun(tmp_path)
        cycle: list[object] = []
        cycle.append(cycle)
        events.info(
            "kinds",
            money=Decimal("0.10"),
            at=NOON.astimezone(timezone(timedelta(hours=2))),
            day=date(2026, 6, 15),
            held=Holding("A", Decimal(2), Mode.SCAN),
            by_mode={Mode.SCAN: (1, 2.5, None, True)},
            path=Path("/x"),
            failure=ValueError("wrong"),
            infinite=float("inf"),
            secret=SecretStr("hidden"),
            cycle=cycle,
        )
        [line] = written(outcome)

        assert line["money"] == "0.10"
        assert line["at"] == "2026-06-15T12:00:00Z"
        assert line["day"] == "2026-06-15"
        assert line["held"] == {"symbol": "A", "price": "2", "mode": "scan"}
        assert line["by_mode"] == {"scan": [1, 2.5, None, True]}
        assert line["path"] == "/x"
        assert line["failure"] == "ValueError: wrong"
        assert line["infinite"] == "inf"
        assert "hidden" not in line["secret"]

    def test_no_key_collides_with_the_log_s_own(self, tmp_path: Path) -> None:
        outcome = begun(tmp_path)
        events.info("clash", name="n", message="m", args=1, mode="other", level="high", event="e")
        [line] = written(outcome)

        assert line["event"] == "clash"
        assert line["mode"] == "trade"
        assert (line["mode_"], line["level_"], line["event_"]) == ("other", "high", "e")
        assert (line["name"], line["message"], line["args"]) == ("n", "m", 1)

    def test_plain_logging_with_extra_values_works_too(self, tmp_path: Path) -> None:
        outcome = begun(tmp_path)
        logging.getLogger("other").error("lost %s of %d", "a", 3, extra={"symbol": "B"})
        [line] = written(outcome)

        assert line["event"] == "lost a of 3"
        assert line["symbol"] == "B"

    def test_an_exception_brings_its_traceback(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        outcome = begun(tmp_path)
        try:
            int("x")
        except ValueError:
            events.exception("failed", symbol="A")
        [line] = written(outcome)

        assert line["level"] == "ERROR"
        assert "ValueError: invalid literal" in line["exc_info"]
        assert "Traceback" in capsys.readouterr().err

    def test_text_from_the_market_cannot_forge_a_line_or_reach_the_terminal(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        outcome = begun(tmp_path)
        events.info("news\n2026 INFO fake", headline="a\n\x1b[2J\r\udc80b", key="k")

        shown = capsys.readouterr().err
        assert shown.count("\n") == 1
        assert "\x1b" not in shown
        assert len(written(outcome)) == 1

    def test_a_level_below_the_setting_is_left_out_and_talkative_libraries_are_quiet(
        self, tmp_path: Path
    ) -> None:
        outcome = begun(tmp_path, level="INFO")
        events.debug("unseen")
        logging.getLogger("httpx2").info("request")
        logging.getLogger("anthropic._base_client").info("retrying")
        logging.getLogger("asyncio").warning("slow")

        assert [line["event"] for line in written(outcome)] == ["slow"]

    def test_a_record_that_cannot_be_written_down_costs_one_sentence(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        class Broken:
            def __str__(self) -> str:
                raise LookupError

        outcome = begun(tmp_path)
        events.info("odd", value=Broken())
        events.info("next")

        assert [line["event"] for line in written(outcome)] == ["next"]
        assert "the record 'odd' cannot be logged: LookupError\n" in capsys.readouterr().err


class TestSecrets:
    @pytest.mark.parametrize(
        "spelled",
        [
            SECRET,
            quote(SECRET),
            quote(SECRET, safe=""),
            quote(SECRET, safe="").lower(),
            quote_plus(SECRET),
            json.dumps(SECRET)[1:-1],
            json.dumps(SECRET, ensure_ascii=False)[1:-1],
            repr(SECRET)[1:-1],
            f"postgresql://agent:{quote(SECRET, safe='')}@host/db",
        ],
    )
    def test_a_secret_is_taken_out_however_it_is_spelled(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], spelled: str
    ) -> None:
        outcome = begun(tmp_path, secrets=[SECRET])
        events.info(
            f"event {spelled}", value=spelled, **{f"key {spelled}": [{spelled: (spelled,)}]}
        )
        logging.getLogger("other").warning(
            "text %s", spelled, extra={"held": Holding(spelled, Decimal(1), Mode.SCAN)}
        )
        try:
            list[str]().index(spelled)
        except ValueError as error:
            error.add_note(spelled)
            events.exception("failed")

        for text in (outcome.path.read_text("utf-8"), capsys.readouterr().err):
            assert spelled not in text
            assert json.dumps(spelled)[1:-1] not in text
            assert quote(SECRET, safe="") not in text
            assert text.count(REDACTED) >= 6

    def test_passwords_in_urls_and_claude_s_keys_are_taken_out_without_being_known(self) -> None:
        redact = redactor(())

        assert redact("at postgresql://u:p%40ss@h/d now") == f"at postgresql://u:{REDACTED}@h/d now"
        assert redact("at postgresql://u:p@ss@h/d") == f"at postgresql://u:{REDACTED}@h/d"
        assert redact("x-api-key: sk-ant-api03-abc_DEF") == f"x-api-key: {REDACTED}"
        assert redact("http://127.0.0.1:8080/a me@b") == "http://127.0.0.1:8080/a me@b"

    @given(st.text(min_size=4, max_size=30), st.text(max_size=10), st.text(max_size=10))
    def test_no_secret_survives(self, secret: str, before: str, after: str) -> None:
        redact = redactor([secret])

        for spelled in (secret, quote(secret, safe="", errors="replace"), json.dumps(secret)[1:-1]):
            assert redact(before + spelled + after) != before + spelled + after


class TestTheFileIsNeverAReasonToStop:
    def outcome_of(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> str:
        outcome = begun(directory)
        events.info("first")
        events.info("second")
        problem = outcome.problem()
        log.tear_down()
        shown = capsys.readouterr().err

        assert problem is not None
        assert shown.count(problem) == 1
        assert "Traceback" not in shown
        assert "INFO    first" in shown
        assert "INFO    second" in shown
        return problem

    def test_a_full_disk(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "rehearsal.jsonl").symlink_to("/dev/full")

        assert self.outcome_of(tmp_path, capsys) == (
            f"the log file {tmp_path}/rehearsal.jsonl cannot be written: No space left on device; "
            "this run goes on, its records are in the database"
        )

    def test_a_directory_in_the_file_s_place(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "rehearsal.jsonl").mkdir()

        assert "Is a directory" in self.outcome_of(tmp_path, capsys)

    def test_a_file_in_the_directory_s_place(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "logs").write_text("")

        assert "cannot be written: " in self.outcome_of(tmp_path / "logs", capsys)

    def test_a_directory_that_does_not_let_us_in(self, tmp_path: Path) -> None:
        program = (
            "import os, sys; from pathlib import Path\n"
            "from tests.shared.test_log import begun, events\n"
            "if os.geteuid() == 0: os.setuid(65534)\n"  # root may write anywhere
            "outcome = begun(Path(sys.argv[1]) / 'logs'); events.info('first')\n"
            "assert 'Permission denied' in outcome.problem()\n"
        )
        tmp_path.chmod(0o555)
        ended = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )

        assert ended.returncode == 0, ended.stderr
        assert ended.stderr.count("cannot be written: Permission denied") == 1
        assert "INFO    first" in ended.stderr

    def test_an_outcome_without_a_problem_says_none(self, tmp_path: Path) -> None:
        outcome = begun(tmp_path / "made" / "on the way")
        events.info("first")

        assert outcome.problem() is None
        assert len(written(outcome)) == 1

    def test_a_disk_that_fills_up_and_empties_again_spoils_one_line_at_most(
        self, tmp_path: Path
    ) -> None:
        program = (
            "import resource, signal, sys; from pathlib import Path\n"
            "from tests.shared.test_log import begun, events\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "begun(Path(sys.argv[1])); events.info('a')\n"
            "size = (Path(sys.argv[1]) / 'rehearsal.jsonl').stat().st_size\n"
            "hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard)); events.info('b')\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard)); events.info('c')\n"
        )
        ended = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        lines = (tmp_path / "rehearsal.jsonl").read_text("utf-8").splitlines()

        assert ended.returncode == 0, ended.stderr
        assert ended.stderr.count("File too large; this run goes on") == 1
        assert len(lines) == 3
        assert (json.loads(lines[0])["event"], json.loads(lines[2])["event"]) == ("a", "c")


class TestRotation:
    def test_a_full_file_is_put_aside_and_only_so_many_are_kept(self, tmp_path: Path) -> None:
        begun(tmp_path, max_bytes=10_000, keep_files=2)
        for number in range(200):
            events.info("filler", number=number, text="x" * 100)
        log.tear_down()
        files = sorted(path.name for path in tmp_path.iterdir())

        assert files == ["rehearsal.jsonl", "rehearsal.jsonl.1", "rehearsal.jsonl.2"]
        assert all(path.stat().st_size < 10_500 for path in tmp_path.iterdir())

    def test_processes_that_write_and_rotate_at_once_lose_nothing(self, tmp_path: Path) -> None:
        program = (
            "import sys; from pathlib import Path; from tests.shared.test_log import begun, events\n"
            "begun(Path(sys.argv[1]), max_bytes=10_000, keep_files=100)\n"
            "sys.stdin.read()\n"
            "[events.info('n', number=n, who=sys.argv[2], text='x' * 300) for n in range(150)]\n"
        )
        running = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(tmp_path), str(who)],
                cwd=PROJECT,
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for who in range(4)
        ]
        for process in running:
            assert process.stdin
            process.stdin.close()
            process.stdin = None
        said = [process.communicate()[1] for process in running]
        lines = [
            json.loads(line)
            for path in tmp_path.iterdir()
            for line in path.read_text("utf-8").splitlines()
        ]

        assert [process.returncode for process in running] == [0] * 4
        assert not any(b"cannot be" in text for text in said)
        assert sorted((line["who"], line["number"]) for line in lines) == [
            (str(who), number) for who in range(4) for number in range(150)
        ]
        assert len(list(tmp_path.iterdir())) > 10


class TestSetUpAgain:
    def test_the_call_before_is_replaced_and_its_file_closed(self, tmp_path: Path) -> None:
        first = begun(tmp_path / "first")
        handles = len(list(Path("/proc/self/fd").iterdir()))
        second = begun(tmp_path / "second")
        for _ in range(15):
            second = begun(tmp_path / "second")
        events.info("once")

        assert written(first) == []
        assert len(written(second)) == 1
        assert len(list(Path("/proc/self/fd").iterdir())) == handles

    def test_what_others_hung_on_the_log_stays(self, tmp_path: Path) -> None:
        others = [*logging.getLogger().handlers]
        begun(tmp_path)
        log.tear_down()
        log.tear_down()

        assert logging.getLogger().handlers == others

    def test_a_stderr_that_is_gone_is_no_reason_to_stop(self, tmp_path: Path) -> None:
        program = (
            "import os, sys; from pathlib import Path; from tests.shared.test_log import begun, events\n"
            "os.dup2(os.open('/dev/full', os.O_WRONLY), 2)\n"
            "begun(Path(sys.argv[1])); events.info('a')\n"
            "sys.stderr.close(); events.info('b')\n"
            "sys.stderr = None; events.info('c')\n"
        )
        command = [sys.executable, "-c", program, str(tmp_path)]
        subprocess.run(command, cwd=PROJECT, check=True, stderr=subprocess.DEVNULL)

        assert len((tmp_path / "rehearsal.jsonl").read_text().splitlines()) == 3


def test_setting_up_the_log_imports_no_heavy_package() -> None:
    program = "import sys, shared.log; print(*(name for name in sys.modules if '.' not in name))"
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True
    )

    assert not {"pydantic", "asyncio", "yaml", "asyncpg", "anthropic"} & set(ended.stdout.split())
