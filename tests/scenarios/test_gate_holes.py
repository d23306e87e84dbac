"""Nine holes through which orders slipped in other projects; here each is closed, from Claude's call to the exchange."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import safety
from rules.codes import Code
from shared.agent_loop import ToolCall, ToolOutcome
from shared.database.connection import Connection
from shared.models import Account, Mode, Refusal
from shared.paths import PROJECT
from tests.brokers.paper_venue import PaperVenue
from tests.brokers.replay import MINUTE
from tests.builders import NOW, entry, limits, snapshot
from tests.fixtures.claude import DONE, LOG, call, scripted
from tests.fixtures.floor import Floor, Watching
from tests.fixtures.theatre import Tape, Theatre, sale_of, trade_of
from tool_executor import ToolExecutor

BUY: dict[str, object] = trade_of(symbol="ACME", limit_price=100.01)
MARKET: dict[str, object] = {k: v for k, v in BUY.items() if k != "limit_price"} | {
    "order_type": "market"
}
LEFT_OUT = shutil.ignore_patterns(
    ".*", "logs", "tests", "benchmarks", "__pycache__", "*.md", "requirements*"
)


@pytest.fixture
async def floor(tmp_path: Path, trading_connection: Connection) -> AsyncIterator[Floor]:
    venue = PaperVenue(tmp_path / "paper.sqlite3")
    yield Floor(venue, trading_connection, tmp_path)
    await venue.broker.disconnect()


@pytest.fixture
def theatre(
    tmp_path: Path, trading_connection: Connection, research_connection: Connection
) -> Theatre:
    data = Tape(tmp_path / "tape").write()
    return Theatre(tmp_path / "rehearsal", data, trading_connection, research_connection)


async def ask(executor: ToolExecutor, name: str, arguments: Mapping[str, object]) -> ToolOutcome:
    call_of = ToolCall(tool_use_id="toolu_1", name=name, arguments=arguments)
    return await executor.carry_out(call_of)


def codes_in(outcome: ToolOutcome) -> list[str]:
    """Codes of a refused trade; a trade that was not refused has none."""
    answer = json.loads(outcome.content)
    return [reason["code"] for reason in answer.get("refused", answer.get("reasons", ()))]


async def codes_of(floor: Floor, arguments: Mapping[str, object], **cycle: Any) -> list[str]:
    return codes_in(await ask(await floor.cycle(**cycle), "execute_trade", arguments))


class TestARatioFromAnInventedEntry:
    """The entry that counts is the one that is paid."""

    async def test_a_market_order_is_judged_at_the_ask_and_not_at_the_entry_that_was_checked(
        self, floor: Floor
    ) -> None:
        checked = {
            "symbol": "ACME",
            "side": "buy",
            "quantity": 10,
            "entry_price": 100,
            "stop_loss": 98,
            "take_profit": 104,
        }
        advice = await ask(await floor.cycle(), "check_risk", checked)
        refused = await codes_of(floor, MARKET | {"take_profit": 104})

        assert json.loads(advice.content)["approved"] is True
        assert refused == [Code.REWARD_TO_RISK]
        assert await codes_of(floor, MARKET | {"take_profit": 104.03}) == []

    async def test_a_limit_far_below_the_market_with_a_fine_ratio_is_caught_by_the_collar(
        self, floor: Floor
    ) -> None:
        dream = BUY | {"limit_price": 90, "stop_loss": 89, "take_profit": 100}

        assert await codes_of(floor, dream) == [Code.PRICE_COLLAR]
        assert floor.at_broker() == ()

    async def test_an_entry_price_is_no_argument_of_a_trade(self, floor: Floor) -> None:
        outcome = await ask(await floor.cycle(), "execute_trade", MARKET | {"entry_price": 99})

        assert outcome.is_error
        assert "entry_price" in outcome.content
        assert floor.at_broker() == ()


class TestALossLimitThatNothingSets:
    def test_a_configuration_without_it_starts_nothing(self, tmp_path: Path) -> None:
        code, said = started(tmp_path, r"^  daily_loss_limit:.*$", "")

        assert (code, "limits.daily_loss_limit is missing" in said) == (2, True), said

    def test_a_session_whose_first_equity_is_not_known_opens_nothing(self) -> None:
        verdict = safety.review(entry(), snapshot(session_start_equity=None), limits(), NOW)

        assert isinstance(verdict, Refusal)
        assert verdict.codes == (Code.DAILY_LOSS,)

    async def test_every_cycle_has_the_first_equity_of_its_session(self, theatre: Theatre) -> None:
        await theatre.run(Mode.TRADE, scripted([call("execute_trade", trade_of())], [LOG], [DONE]))
        await theatre.run(Mode.TRADE, scripted([LOG], [DONE]))

        assert await theatre.rows("SELECT starting_capital FROM trading_sessions") == [
            {"starting_capital": Decimal(100_000)}
        ]


class TestANameThatNothingKnows:
    @pytest.mark.parametrize(
        ("known", "misspelt"),
        [
            ("max_position_value:", "max_positon_value:"),
            ("daily_loss_limit:", "daily_loss_limt:"),
            ("max_trades_per_day:", "max_trades_day:"),
        ],
    )
    def test_a_misspelt_limit_starts_nothing(
        self, tmp_path: Path, known: str, misspelt: str
    ) -> None:
        code, said = started(tmp_path, f"^  {known}", f"  {misspelt}")

        assert code == 2
        assert f"{misspelt[:-1]} is not a setting of limits" in said

    def test_a_limit_beside_the_known_ones_starts_nothing(self, tmp_path: Path) -> None:
        code, said = started(tmp_path, r"^limits:.*$", "limits:\n  max_leverage: 1")

        assert code == 2
        assert "max_leverage is not a setting of limits" in said


class TestASaleOfWhatIsNotHeld:
    @pytest.mark.parametrize(
        ("tool", "arguments"),
        [
            ("execute_trade", sale_of() | {"symbol": "ACME"}),
            ("execute_trade", sale_of(1) | {"symbol": "OTHER"}),
            ("execute_trade", sale_of() | {"symbol": "NOSUCH"}),
            ("close_position", {"symbol": "ACME", "reason": "go short"}),
        ],
    )
    async def test_is_not_placed(
        self, floor: Floor, tool: str, arguments: Mapping[str, object]
    ) -> None:
        floor.list_another("OTHER")
        outcome = await ask(await floor.cycle(), tool, arguments)

        assert outcome.is_error
        assert floor.at_broker() == ()
        assert floor.held() == 0

    async def test_is_refused_also_beyond_what_is_held(self, floor: Floor) -> None:
        await ask(await floor.cycle(), "execute_trade", BUY)

        assert await codes_of(floor, sale_of(11) | {"symbol": "ACME"}) == [Code.NOT_HELD]
        assert floor.held() == 10

    async def test_is_refused_while_the_purchase_still_rests(self, floor: Floor) -> None:
        await ask(await floor.cycle(), "execute_trade", BUY | {"limit_price": 99})

        assert await codes_of(floor, sale_of() | {"symbol": "ACME"}) == [Code.NOT_HELD]
        assert all(order.side == "buy" for order in floor.at_broker())


KILLED_AFTER_ITS_FIRST_ORDER = """
import asyncio, json, os, signal, sys
from pathlib import Path
from shared.models import Mode
from tests.fixtures.claude import call
from tests.fixtures.databases import open_connection
from tests.fixtures.theatre import Theatre, trade_of

class GoesOn(Theatre):
    def __post_init__(self):
        pass

async def run(folder, data, trading, research):
    theatre = GoesOn(
        Path(folder), Path(data), await open_connection(trading), await open_connection(research)
    )
    def policy(request):
        if len(theatre.transports[0].bodies) > 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return [call("execute_trade", trade_of())]
    await theatre.run(Mode.TRADE, policy)

asyncio.run(run(*sys.argv[1:]))
"""


class TestCountersInMemory:
    """Entries are counted where the orders are written down, so no new process begins at nought."""

    async def turn(self, theatre: Theatre, quantity: int) -> tuple[str, ...]:
        """Buy and sell again in one cycle; return what was refused."""
        script = scripted(
            [call("execute_trade", trade_of(quantity))],
            [call("execute_trade", sale_of(quantity))],
            [LOG],
            [DONE],
        )
        outcome = await theatre.run(Mode.TRADE, script)
        return tuple(code for code in outcome.refusals if code != Code.NOT_HELD)

    @pytest.mark.parametrize(
        ("limit", "code"),
        [
            ("max_trades_per_day", Code.TRADES_PER_DAY),
            ("max_trades_per_symbol_per_day", Code.TRADES_PER_SYMBOL),
        ],
    )
    async def test_the_entries_of_earlier_cycles_count(
        self, theatre: Theatre, limit: str, code: Code
    ) -> None:
        theatre.settings = with_limits(theatre, cooldown_minutes_after_loss=0, **{limit: 2})

        refused = [await self.turn(theatre, quantity) for quantity in (1, 2, 3)]

        assert refused == [(), (), (code,)]

    async def test_the_entry_of_a_process_that_was_killed_counts(
        self, theatre: Theatre, trading_database_url: str, research_database_url: str
    ) -> None:
        child = subprocess.run(  # noqa: ASYNC221 (nothing else is to run meanwhile)
            [
                sys.executable,
                "-c",
                KILLED_AFTER_ITS_FIRST_ORDER,
                str(theatre.folder),
                str(theatre.data),
                trading_database_url,
                research_database_url,
            ],
            cwd=PROJECT,
            timeout=60,
            capture_output=True,
            check=False,
        )
        theatre.settings = with_limits(theatre, max_trades_per_day=1)
        outcome = await theatre.run(
            Mode.TRADE, scripted([call("execute_trade", trade_of(3))], [LOG], [DONE])
        )

        assert child.returncode == -signal.SIGKILL, child.stderr
        assert Code.TRADES_PER_DAY in outcome.refusals
        assert len([o for o in await theatre.broker_orders() if o.side == "buy"]) == 1


class TestExposureThatLeavesOutWhatIsPending:
    DIP: Mapping[str, object] = BUY | {"limit_price": 99, "take_profit": 102}

    async def test_of_one_symbol(self, floor: Floor) -> None:
        assert await codes_of(floor, {**self.DIP, "quantity": 30}) == []
        assert await codes_of(floor, {**self.DIP, "quantity": 21, "limit_price": 98.9}) == [
            Code.POSITION_VALUE
        ]

    @pytest.mark.parametrize(
        ("bounds", "code"),
        [
            ({"max_positions": 1}, Code.POSITION_COUNT),
            ({"max_gross_exposure_pct": Decimal("3.9")}, Code.GROSS_EXPOSURE),
        ],
    )
    async def test_of_all_symbols(
        self, floor: Floor, bounds: dict[str, object], code: Code
    ) -> None:
        floor.list_another("OTHER")
        assert await codes_of(floor, {**self.DIP, "quantity": 20}, **bounds) == []

        other = {**self.DIP, "symbol": "OTHER", "quantity": 20}
        assert await codes_of(floor, other, **bounds) == [code]

    async def test_and_the_cash_that_they_will_need(self, floor: Floor) -> None:
        floor.list_another("OTHER")

        class AlmostSpent(Watching):
            async def account(self) -> Account:
                return replace(await super().account(), cash=Decimal(3000))

        broker = AlmostSpent(floor.venue.broker)
        assert await codes_of(floor, {**self.DIP, "quantity": 20}, broker=broker) == []

        other = {**self.DIP, "symbol": "OTHER", "quantity": 20}
        assert await codes_of(floor, other, broker=broker) == [Code.CASH]


class TestALimitAboveTheMarket:
    @pytest.mark.parametrize(
        ("limit_price", "expected"), [(100.01, []), (101.5, [Code.POSITION_VALUE])]
    )
    async def test_is_valued_at_the_limit(
        self, floor: Floor, limit_price: float, expected: list[Code]
    ) -> None:
        high = BUY | {"limit_price": limit_price, "take_profit": 110}

        assert await codes_of(floor, high, max_position_value=Decimal(1001)) == expected

    async def test_risks_what_lies_between_the_limit_and_the_stop(self, floor: Floor) -> None:
        bound = {"max_trade_risk_pct": Decimal("0.021")}  # 21 at an equity of 100,000
        high = BUY | {"limit_price": 101.5, "take_profit": 110}

        assert await codes_of(floor, high, **bound) == [Code.TRADE_RISK]
        assert await codes_of(floor, BUY, **bound) == []


class TestLimitsInAnotherCurrency:
    def test_than_the_market_start_nothing(self, tmp_path: Path) -> None:
        code, said = started(tmp_path, r"^(limits:.*\n  currency:) USD", r"\1 HKD")

        assert code == 2
        assert "must equal market.currency, USD, was HKD" in said

    async def test_than_the_account_open_nothing(
        self, tmp_path: Path, trading_connection: Connection
    ) -> None:
        venue = PaperVenue(tmp_path / "paper.sqlite3", currency="HKD")
        floor = Floor(venue, trading_connection, tmp_path)
        codes, placed = await codes_of(floor, BUY), floor.at_broker()
        await venue.broker.disconnect()

        assert codes == [Code.ACCOUNT]
        assert placed == ()


class TestEquityThatIsNoNumber:
    @pytest.mark.parametrize("number", ["NaN", "sNaN", "Infinity", "-Infinity"])
    async def test_opens_nothing(self, floor: Floor, number: str) -> None:
        class Broken(Watching):
            changes: Mapping[str, Any]

            async def account(self) -> Account:
                return replace(await super().account(), **self.changes)

        broker = Broken(floor.venue.broker)
        for field in ("equity", "cash", "buying_power"):
            broker.changes = {field: Decimal(number)}
            assert await codes_of(floor, BUY, broker=broker) == [Code.NOT_FINITE]
        assert floor.at_broker() == ()

    async def test_keeps_nobody_in_a_position(self, floor: Floor) -> None:
        await ask(await floor.cycle(), "execute_trade", BUY)
        floor.venue.move_to(floor.venue.clock.now() + MINUTE / 2)

        class Broken(Watching):
            async def account(self) -> Account:
                return replace(await super().account(), equity=Decimal("NaN"))

        broker = Broken(floor.venue.broker)
        assert await codes_of(floor, sale_of() | {"symbol": "ACME"}, broker=broker) == []
        assert floor.held() == 0


def started(tmp_path: Path, pattern: str, new: str) -> tuple[int, str]:
    """Start the program as cron does, from a copy in which one line of the configuration differs."""
    project = Path(shutil.copytree(PROJECT, tmp_path / "catalyst", ignore=LEFT_OUT))
    config = project / "config" / "rehearsal.yaml"
    text, count = re.subn(pattern, new, config.read_text(), flags=re.MULTILINE)
    assert count == 1
    config.write_text(text)
    done = subprocess.run(
        [
            sys.executable,
            str(project / "unified_agent.py"),
            *("--agent", "rehearsal", "--mode", "trade"),
        ],
        capture_output=True,
        text=True,
        env={"CATALYST_HOME": str(tmp_path / "home")},
        cwd="/",
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


def with_limits(theatre: Theatre, **changes: Any) -> Any:
    bounds = theatre.settings.limits.model_copy(update=changes)
    return theatre.settings.model_copy(update={"limits": bounds})
