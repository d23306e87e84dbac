import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture import (
    Source,
    attributes_outside,
    broad_excepts,
    calls_outside,
    functions_with,
    impurities,
    layer_breaches,
    names_outside,
    sources,
    without_a_layer,
)

PROJECT = Path(__file__).resolve().parent.parent
FILES = sources(PROJECT)

LAYERS = {
    "unified_agent": 6,
    "startup_monitor": 6,
    "position_monitor": 6,
    "entry_point": 6,
    "settling": 6,
    "cycle": 6,
    "workplace": 6,
    "guard": 6,
    "looks": 6,
    "held_prices": 6,
    "silence": 6,
    "blind_guard": 6,
    "vigil": 6,
    "watch_parts": 6,
    "cycle_words": 6,
    "by_rule": 6,
    "closing": 6,
    "calendar_end": 6,
    "agreement": 6,
    "punctuality": 6,
    "readiness": 6,
    "stage": 6,
    "live_stage": 6,
    "live_alpaca": 6,
    "live_moomoo": 6,
    "rehearsal": 6,
    "benchmarks": 6,
    "cron": 6,
    "tool_executor": 5,
    "tool_answers": 5,
    "lookout": 5,
    "broker_clock": 5,
    "standing": 5,
    "outside_money": 5,
    "brokers": 4,
    "market": 4,
    "tools": 3,
    "signals": 3,
    "safety": 3,
    "rules": 3,
    "shared.operate": 6,
    "shared.alerts": 6,  # a program of its own
    "shared.care": 6,
    "shared.crontab": 6,
    "shared": 2,
    "shared.models": 1,
    "shared.errors": 1,
}
"""A higher number may import a lower or an equal one."""

APART = {frozenset({"brokers", "market"}), frozenset({"shared.models", "shared.errors"})}

PURE = {
    "safety",
    "rules.case",
    "rules.codes",
    "rules.finite",
    "rules.floors",
    "rules.market",
    "rules.permission",
    "rules.protection",
    "rules.quotes",
    "rules.sale",
    "rules.size",
    "tools",
    "signals",
    "shared.models",
    "shared.errors",
    "shared.claude_messages",
    "shared.config",
    "shared.config_brokers",
    "shared.config_checks",
    "shared.config_checks_opend",
    "shared.config_finding",
    "shared.config_section",
    "shared.config_sentences",
    "shared.conversation",
    "shared.crontab.block",
    "shared.crontab.firings",
    "shared.crontab.upcoming",
    "shared.due",
    "shared.halts",
    "shared.identity",
    "shared.ledger",
    "shared.order_life",
    "shared.outcome",
    "shared.reconciliation",
    "shared.reconciliation_holdings",
    "shared.reconciliation_orders",
    "shared.reconciliation_views",
    "shared.redaction",
    "shared.opend_refusals",
    "shared.opend_symbols",
    "shared.schedule",
    "shared.trading_day",
    "shared.unreadable",
    "shared.ticks",
    "shared.watch",
    "brokers.alpaca_requests",
    "brokers.alpaca_wire",
    "brokers.drafts",
    "brokers.exposure",
    "brokers.fees",
    "brokers.matching",
    "brokers.moomoo_requests",
    "brokers.moomoo_wire",
    "market.alpaca_wire",
    "market.bars",
    "market.calendar",
    "market.calendar_horizon",
    "market.daily",
    "market.minutes",
    "market.moomoo_wire",
    "market.scanner",
    "market.spread",
    "market.ticks",
    "market.volume_pace",
    "rehearsal.answers",
    "rehearsal.policy",
}

PURE_MAY_IMPORT = {
    "abc", "bisect", "collections", "contextlib", "copy", "dataclasses", "datetime", "decimal", "difflib",
    "enum", "fractions", "functools", "hashlib", "heapq", "html", "itertools", "json", "math", "numbers",
    "operator", "pydantic", "pydantic_core", "re", "shlex", "statistics", "string", "textwrap", "types", "typing",
    "unicodedata", "zoneinfo",
    "pathlib.Path",  # as a type of what others read
    "urllib.parse",
    "uuid.UUID",
    "shared.yaml_positions.KeyPath",
    "brokers.base",
    "brokers.paper_rules.RejectCode",
    "market.base",
}  # fmt: skip

READERS = {"market.calendar": "load"}
"""Pure modules with one function that reads the committed table they work on."""

CLOCKS = {
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
    "time.time",
    "time.time_ns",
    "time.localtime",
    "time.gmtime",
    "time.ctime",
    "time.strftime",
}

APPROVALS = {"safety.ApprovedOrder", "safety.ApprovedCancel"}
FORGERY = {"_SEAL", "__new__", "__setattr__"}
"""The seal, and the two ways around a frozen dataclass's constructor."""

HIDDEN_IMPORTS = {"importlib.import_module", "importlib.util.module_from_spec", "__import__"}

ORDER_CALLS = {"place_order", "replace_order", "cancel_order"}
ORDER_PLACES = {
    "tool_executor.py",
    "benchmarks/watch_cost.py",  # takes the time of them, and makes none
    "brokers/",  # the adapters themselves, and brokers/desk.py, through which the executor trades
}

ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.putenv", "os.unsetenv"}
ENVIRONMENT_PLACES = {
    ("unified_agent.py", "main"),
    ("startup_monitor.py", "main"),
    ("position_monitor.py", "main"),
    ("rehearsal/day.py", "main"),
    ("shared/operate/command.py", "main"),
    ("shared/care/command.py", "main"),
    ("shared/crontab/command.py", "main"),
    ("benchmarks/run_cost.py", "main"),
    ("benchmarks/watch_cost.py", "main"),
    ("shared/embedded_postgres/__main__.py", "<module>"),  # programs of their own, which pass it on
    ("shared/migrate.py", "<module>"),
    ("shared/alerts.py", "<module>"),
    ("shared/opend_import.py", "_as_it_was"),  # moomoo's client wants a home when it is imported
}

BROAD_EXCEPT_PLACES = {
    ("shared/second_opinion.py", "ask"),  # whatever it is, the position is held with its stop
    ("entry_point.py", "told"),  # no mail server's oddity may change how a run ended
    ("vigil.py", "_pass"),  # main's inner half of a process that lives for a session
    ("cycle.py", "run"),  # main's inner half: whatever happened, the cycle's row has to say it
    (
        "entry_point.py",
        "_guarded",
    ),  # main: a defect must still end in a sentence and an exit code
    ("shared/operate/command.py", "report"),  # the same for what a person types
    (
        "tool_executor.py",
        "carry_out",
    ),  # the tool boundary: a defect must not lose the cycle's record
}


def clock_breaches(files: tuple[Source, ...]) -> list[str]:
    return names_outside(files, CLOCKS, allowed={"shared/clock.py"}, why="is a clock of its own")


def approval_breaches(files: tuple[Source, ...]) -> list[str]:
    made = calls_outside(files, APPROVALS, allowed={"safety.py"}, why="is made by safety alone")
    return made + attributes_outside(files, FORGERY, allowed={"safety.py"}, why="forges approvals")


def order_breaches(files: tuple[Source, ...]) -> list[str]:
    return attributes_outside(
        files, ORDER_CALLS, allowed=ORDER_PLACES, why="trades past the executor"
    )


def environment_breaches(files: tuple[Source, ...]) -> list[str]:
    return [
        f"{source.path}:{line}: {function} must not read the environment"
        for source in files
        for line, function in functions_with(source, ENVIRONMENT)
        if (source.path, function) not in ENVIRONMENT_PLACES
    ]


def except_breaches(files: tuple[Source, ...]) -> list[str]:
    return [
        f"{source.path}:{line}: {function} must not catch everything"
        for source in files
        for line, function in broad_excepts(source)
        if (source.path, function) not in BROAD_EXCEPT_PLACES
    ]


def purity_breaches(files: tuple[Source, ...]) -> list[str]:
    return impurities(
        files,
        PURE,
        may_import=PURE_MAY_IMPORT,
        readers=READERS,
    )


def import_breaches(files: tuple[Source, ...]) -> list[str]:
    hidden = names_outside(files, HIDDEN_IMPORTS, allowed=(), why="hides what is imported")
    return layer_breaches(files, LAYERS, APART) + hidden


def layer_gaps(files: tuple[Source, ...]) -> list[str]:
    return without_a_layer(files, LAYERS)


Rule = Callable[[tuple[Source, ...]], list[str]]

RULES: tuple[Rule, ...] = (
    import_breaches,
    layer_gaps,
    purity_breaches,
    clock_breaches,
    approval_breaches,
    order_breaches,
    environment_breaches,
    except_breaches,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_project_keeps_its_architecture(rule: Rule) -> None:
    assert rule(FILES) == []


def test_the_project_is_what_is_looked_at() -> None:
    assert {"safety.py", "shared/models.py", "brokers/base.py"} <= {file.path for file in FILES}
    assert not any(".venv" in file.path or file.path.startswith("tests/") for file in FILES)


PLANTED: tuple[tuple[Rule, str, str, str], ...] = (
    (import_breaches, "safety.py", "import brokers.paper", "must not import brokers.paper"),
    (import_breaches, "safety.py", "def f():\n    from brokers import paper", "brokers.paper"),
    (import_breaches, "shared/log.py", "import tools", "above it"),
    (import_breaches, "shared/errors.py", "from shared import clock", "above it"),
    (import_breaches, "shared/errors.py", "import shared.models", "know each other"),
    (import_breaches, "shared/models.py", "from .config import Settings", "above it"),
    (import_breaches, "market/news.py", "from brokers.base import Broker", "know each other"),
    (import_breaches, "brokers/paper.py", "from market import feed", "know each other"),
    (import_breaches, "brokers/paper.py", "import tool_executor", "above it"),
    (import_breaches, "tool_executor.py", "import unified_agent", "above it"),
    (
        import_breaches,
        "tools.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import market.base",
        "tools.py:3",
    ),
    (import_breaches, "tools.py", "from importlib import import_module", "hides"),
    (import_breaches, "tools.py", "__import__('brokers')", "hides"),
    (layer_gaps, "strategies.py", "", "strategies.py"),
    (layer_gaps, "services/orders.py", "", "services/orders.py"),
    (purity_breaches, "safety.py", "import asyncio", "import asyncio"),
    (purity_breaches, "safety.py", "from os import path", "import os.path"),
    (purity_breaches, "tools.py", "import logging", "import logging"),
    (purity_breaches, "tools.py", "import some_new_package", "some_new_package"),
    (purity_breaches, "signals.py", "from shared.log import get", "import shared.log.get"),
    (purity_breaches, "signals.py", "def f(clock): return clock.now()", "call now"),
    (purity_breaches, "shared/ledger.py", "x = open('a')", "call open"),
    (purity_breaches, "shared/ledger.py", "async def f(): ...", "wait"),
    (purity_breaches, "shared/models.py", "import random", "import random"),
    (purity_breaches, "rehearsal/policy.py", "import time", "import time"),
    (purity_breaches, "market/calendar.py", "def f(path): return path.read_text()", "read_text"),
    (
        purity_breaches,
        "market/scanner.py",
        "from pathlib import Path\nPath('a').read_text()",
        "read",
    ),
    (clock_breaches, "cycle.py", "from datetime import datetime\ndatetime.now()", "datetime.now"),
    (clock_breaches, "cycle.py", "import datetime as dt\ndt.date.today()", "cycle.py:2"),
    (clock_breaches, "cycle.py", "from time import time as t", "time.time"),
    (clock_breaches, "cycle.py", "import time\nf(key=time.time)", "time.time"),
    (approval_breaches, "cycle.py", "import safety\nsafety.ApprovedOrder()", "safety alone"),
    (approval_breaches, "cycle.py", "from safety import ApprovedCancel as A\nA()", "cycle.py:2"),
    (approval_breaches, "cycle.py", "import safety\nsafety._SEAL", "_SEAL"),
    (approval_breaches, "cycle.py", "from safety import _SEAL", "_SEAL"),
    (approval_breaches, "cycle.py", "getattr(safety, '_SEAL')", "_SEAL"),
    (approval_breaches, "cycle.py", "object.__new__(ApprovedOrder)", "__new__"),
    (
        approval_breaches,
        "cycle.py",
        "object.__setattr__(approved, 'request', other)",
        "__setattr__",
    ),
    (order_breaches, "cycle.py", "broker.place_order(approved)", "place_order"),
    (order_breaches, "market/feed.py", "send = self.broker.cancel_order", "cancel_order"),
    (order_breaches, "rehearsal/day.py", "getattr(broker, 'replace_order')", "replace_order"),
    (environment_breaches, "shared/log.py", "import os\nos.environ['A']", "<module>"),
    (
        environment_breaches,
        "shared/log.py",
        "from os import getenv as g\ng('A')",
        "shared/log.py:2",
    ),
    (environment_breaches, "unified_agent.py", "import os\ndef f(): os.environ", "f must not"),
    (except_breaches, "cycle.py", "try: f()\nexcept Exception: pass", "<module>"),
    (except_breaches, "cycle.py", "try: f()\nexcept: g()", "cycle.py:2"),
    (except_breaches, "cycle.py", "try: f()\nexcept (OSError, BaseException): g()", "cycle.py:2"),
    (
        except_breaches,
        "unified_agent.py",
        "def elsewhere():\n    try: f()\n    except Exception as e: raise Y from e",
        "elsewhere",
    ),
)


def shown(value: object) -> str:
    return str(getattr(value, "__name__", value))


@pytest.mark.parametrize(("rule", "path", "text", "found"), PLANTED, ids=shown)
def test_a_planted_breach_is_found(rule: Rule, path: str, text: str, found: str) -> None:
    [breach] = set(rule((Source.parse(path, text),)))

    assert path in breach
    assert found in breach


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("tool_executor.py", "import brokers.base, market.base, safety, tools, shared.models"),
        ("brokers/alpaca.py", "import alpaca\nasync def f(sdk): await sdk.place_order()"),
        (
            "safety.py",
            "from shared.models import Order\nfrom decimal import Decimal\nApprovedOrder()",
        ),
        ("shared/clock.py", "from datetime import datetime\ndatetime.now()"),
        ("unified_agent.py", "import os\ndef main(): return os.environ"),
        (
            "cycle.py",
            "import time\ntime.monotonic()\ntry: f()\nexcept BaseException:\n    g()\n    raise",
        ),
        ("market/calendar.py", "from pathlib import Path\ndef load(path): return path.read_text()"),
    ],
    ids=str,
)
def test_what_is_allowed_is_not_found(path: str, text: str) -> None:
    files = (Source.parse(path, text),)

    assert [breach for rule in RULES for breach in rule(files)] == []


def test_the_type_checker_rejects_an_order_that_safety_did_not_approve(tmp_path: Path) -> None:
    snippet = tmp_path / "past_safety.py"
    snippet.write_text(
        "from brokers.base import Broker\n"
        "from safety import ApprovedCancel, ApprovedOrder\n"
        "from shared.models import OrderRequest\n"
        "async def allowed(broker: Broker, order: ApprovedOrder, cancel: ApprovedCancel) -> None:\n"
        "    await broker.place_order(order)\n"
        "    await broker.replace_order(order)\n"
        "    await broker.cancel_order(cancel)\n"
        "async def forbidden(broker: Broker, request: OrderRequest) -> None:\n"
        "    await broker.place_order(request)\n"
        "    await broker.replace_order(request)\n"
        "    await broker.cancel_order('an id')\n"
        "class Lookalike:\n"
        "    request: OrderRequest\n"
        "async def imitated(broker: Broker, lookalike: Lookalike) -> None:\n"
        "    await broker.place_order(lookalike)\n"
    )
    settings = tmp_path / "pyrightconfig.json"
    settings.write_text(
        json.dumps(
            {
                "extends": str(PROJECT / "pyproject.toml"),
                "include": [str(snippet)],
                "extraPaths": [str(PROJECT)],
                "venvPath": str(PROJECT),
                "venv": ".venv",
            }
        )
    )
    program = Path(sys.executable).with_name("basedpyright")
    ended = subprocess.run(
        [program, "--project", settings, "--outputjson"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [
        (said["range"]["start"]["line"] + 1, said["rule"])
        for said in json.loads(ended.stdout)["generalDiagnostics"]
        if said["severity"] == "error"
    ]

    assert errors == [(line, "reportArgumentType") for line in (9, 10, 11, 15)]
