"""The tools beside trading itself: advice that is kept, closing what is ours, alerts, indicators, patterns, news."""

import csv
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import tools
from brokers.desk import DeskContext
from brokers.paper import PaperBroker
from lookout import Workplace
from market.calendar import Calendar
from market.recorded import RecordedFeed
from market.recording import Recording
from shared.agent_loop import ToolCall, ToolOutcome
from shared.clock import ManualClock
from shared.database import accounts
from shared.database.connection import Connection
from shared.database.cycles import start_cycle
from shared.journal.books import open_books
from shared.models import SLOT_MODES, Mode
from tests.brokers.order_requests import buy, order_request
from tests.brokers.paper_venue import PaperVenue
from tests.brokers.replay import MINUTE, at
from tests.fixtures.broker_orders import AGENT, AT, cycle_start, sender
from tests.fixtures.claude import PAPER
from tests.fixtures.floor import Floor
from tests.fixtures.market_data import GENERATED_DAY
from tests.fixtures.theatre import Tape, sale_of, trade_of
from tool_executor import MAX_ALERTS_PER_CYCLE, ToolExecutor

BUY: dict[str, object] = trade_of(symbol="ACME", limit_price=100.01)
SELL: dict[str, object] = sale_of() | {"symbol": "ACME"}
OPENING = {"execute_trade", "check_risk"}


@pytest.fixture
async def floor(tmp_path: Path, trading_connection: Connection) -> AsyncIterator[Floor]:
    venue = PaperVenue(tmp_path / "paper.sqlite3")
    yield Floor(venue, trading_connection, tmp_path)
    await venue.broker.disconnect()


async def ask(
    executor: ToolExecutor, name: str, arguments: Mapping[str, object] | None = None
) -> ToolOutcome:
    call = ToolCall(tool_use_id="toolu_1", name=name, arguments=arguments or {})
    return await executor.carry_out(call)


async def said(
    executor: ToolExecutor, name: str, arguments: Mapping[str, object] | None = None
) -> Any:
    outcome = await ask(executor, name, arguments)
    assert not outcome.is_error, outcome.content
    return json.loads(outcome.content, parse_constant=no_number)


def no_number(name: str) -> float:
    raise AssertionError(f"{name} is no JSON")


def codes_of_trade(outcome: ToolOutcome) -> list[str]:
    answer = json.loads(outcome.content)
    return [reason["code"] for reason in answer.get("refused", ())]


class TestAdvice:
    """check_risk and execute_trade are asked at one moment and have to agree."""

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"quantity": 49},
            {"quantity": 50},
            {"quantity": 100_000},
            {"stop_loss": 98.01},
            {"stop_loss": 97.4},
            {"stop_loss": 94.9, "take_profit": 120},
            {"stop_loss": 100.0},
            {"stop_loss": 100.01},
            {"stop_loss": 99.99, "take_profit": 101},
            {"stop_loss": 101},
            {"take_profit": 104},
            {"take_profit": 104.03},
            {"take_profit": 99},
            {"limit_price": 97.9, "stop_loss": 97, "take_profit": 100},
            {"limit_price": 102.1, "take_profit": 115},
            {"limit_price": 99, "take_profit": 102},
            {"limit_price": 100.014, "stop_loss": 97.996, "take_profit": 104.039},
            {"symbol": "NOSUCH"},
            {"symbol": "NOSUCH", "quantity": 100_000, "stop_loss": 120},
        ],
        ids=str,
    )
    async def test_on_an_entry_is_what_the_trade_gets_and_places_nothing(
        self, floor: Floor, changes: dict[str, object]
    ) -> None:
        wanted = BUY | changes
        advice = await said(await floor.cycle(), "check_risk", checked(wanted))
        placed = floor.at_broker(), await floor.rows("SELECT FROM orders")
        refusals = await floor.rows("SELECT FROM refusals")
        outcome = await ask(await floor.cycle(), "execute_trade", wanted)

        assert (placed, refusals) == (((), []), [])
        assert [reason["code"] for reason in advice["reasons"]] == codes_of_trade(outcome)
        assert advice["approved"] is not outcome.is_error
        assert len(floor.at_broker()) == (0 if outcome.is_error else 1)

    @pytest.mark.parametrize(
        "situation",
        ["halted", "shut", "late", "early", "stale", "held", "symbol_used_up", "used_up"],
    )
    async def test_agrees_in_every_situation(self, floor: Floor, situation: str) -> None:
        cycle = await in_situation(floor, situation)
        orders = floor.at_broker()
        advice = await said(await floor.cycle(**cycle), "check_risk", checked(BUY))
        outcome = await ask(await floor.cycle(**cycle), "execute_trade", BUY)

        assert [reason["code"] for reason in advice["reasons"]] == codes_of_trade(outcome) != []
        assert floor.at_broker() == orders

    async def test_on_a_sale_of_what_is_not_held(self, floor: Floor) -> None:
        advice = await said(await floor.cycle(), "check_risk", checked(BUY | {"side": "sell"}))
        outcome = await ask(await floor.cycle(), "execute_trade", SELL)

        assert [reason["code"] for reason in advice["reasons"]] == codes_of_trade(outcome)
        assert codes_of_trade(outcome) == ["NOT_HELD"]

    async def test_on_a_sale_of_what_is_held(self, floor: Floor) -> None:
        await ask(await floor.cycle(), "execute_trade", BUY)
        advice = await said(await floor.cycle(), "check_risk", checked(BUY | {"side": "sell"}))

        assert advice["approved"] is True
        assert floor.held() == 10

    async def test_on_a_sale_of_a_part_is_no_yes_to_what_will_be_refused(
        self, floor: Floor
    ) -> None:
        await ask(await floor.cycle(), "execute_trade", BUY)
        part = BUY | {"side": "sell", "quantity": 3}
        advice = await ask(await floor.cycle(), "check_risk", checked(part))
        outcome = await ask(await floor.cycle(), "execute_trade", SELL | {"quantity": 3})

        assert outcome.is_error
        assert advice.is_error or json.loads(advice.content)["approved"] is False


class TestClosePosition:
    async def test_sells_one_and_leaves_the_others(self, floor: Floor) -> None:
        floor.list_another("OTHER")
        await ask(await floor.cycle(), "execute_trade", BUY)
        await ask(await floor.cycle(), "execute_trade", BUY | {"symbol": "OTHER"})
        await said(await floor.cycle(), "close_position", {"symbol": "ACME", "reason": "enough"})

        assert held(floor) == {"OTHER": 10}
        assert await floor.rows(
            "SELECT reason FROM orders WHERE order_purpose = 'exit' AND symbol = 'ACME'"
        ) == [{"reason": "enough"}]

    @pytest.mark.parametrize("symbol", ["ACME", "NOSUCH"])
    async def test_refuses_what_is_not_ours(self, floor: Floor, symbol: str) -> None:
        floor.venue.exchange.place(buy(7))
        asked = {"symbol": symbol, "reason": "enough"}
        outcome = await ask(await floor.cycle(), "close_position", asked)

        assert (outcome.is_error, outcome.content) == (
            True,
            f"no position of yours in {symbol} is open",
        )
        assert held(floor) == {"ACME": 7}

    async def test_leaves_shares_that_were_bought_by_hand_beside_ours(self, floor: Floor) -> None:
        floor.venue.exchange.place(buy(7))
        await ask(await floor.cycle(), "execute_trade", BUY)
        asked = {"symbol": "ACME", "reason": "enough"}
        await ask(await floor.cycle(), "close_position", asked)

        assert held(floor).get("ACME", 0) >= 7

    async def test_needs_a_reason(self, floor: Floor) -> None:
        outcome = await ask(await floor.cycle(), "close_position", {"symbol": "ACME"})

        assert outcome.is_error
        assert "reason" in outcome.content


class TestCloseAll:
    async def test_sells_all_that_is_ours_and_tells_a_person(self, floor: Floor) -> None:
        floor.list_another("OTHER")
        floor.list_another("THIRD")
        floor.venue.exchange.place(order_request(buy(1).side, 7, symbol="THIRD"))
        await ask(await floor.cycle(), "execute_trade", BUY)
        await ask(await floor.cycle(), "execute_trade", BUY | {"symbol": "OTHER"})
        answer = await said(await floor.cycle(), "close_all", {"reason": "a crash"})

        assert answer["sold"] == ["ACME", "OTHER"]
        assert held(floor) == {"THIRD": 7}
        assert await floor.rows("SELECT severity, subject, body FROM alerts") == [
            {
                "severity": "critical",
                "subject": "Claude closed all positions",
                "body": "a crash",
            }
        ]

    async def test_works_once_per_cycle(self, floor: Floor) -> None:
        executor = await floor.cycle()
        first = await ask(executor, "close_all", {"reason": "a crash"})
        second = await ask(executor, "close_all", {"reason": "a crash"})
        in_the_next = await ask(await floor.cycle(), "close_all", {"reason": "a crash"})

        assert (first.is_error, second.is_error, in_the_next.is_error) == (False, True, False)
        assert second.content == "close_all was called in this cycle already"

    async def test_works_only_while_the_exchange_is_open(self, floor: Floor) -> None:
        await ask(await floor.cycle(), "execute_trade", BUY)
        floor.venue.move_to(at(20))
        executor = await floor.cycle()
        outcome = await ask(executor, "close_all", {"reason": "a crash"})

        assert outcome.content == "close_all works only while the exchange is open"
        assert outcome.is_error
        assert floor.held() == 10
        assert await floor.alerts() == []

    async def test_needs_a_reason(self, floor: Floor) -> None:
        await ask(await floor.cycle(), "execute_trade", BUY)
        executor = await floor.cycle()
        for arguments in ({}, {"reason": ""}, {"reason": "  "}, {"reason": None}):
            assert (await ask(executor, "close_all", arguments)).is_error
        assert floor.held() == 10

    async def test_leaves_shares_that_were_bought_by_hand_beside_ours(self, floor: Floor) -> None:
        floor.venue.exchange.place(buy(7))
        await ask(await floor.cycle(), "execute_trade", BUY)
        await ask(await floor.cycle(), "close_all", {"reason": "a crash"})

        assert held(floor).get("ACME", 0) >= 7

    async def test_in_a_dry_run_sells_nothing_and_tells_nobody(self, floor: Floor) -> None:
        await ask(await floor.cycle(), "execute_trade", BUY)
        answer = await said(await floor.cycle(dry_run=True), "close_all", {"reason": "a crash"})

        assert answer["sold"] == []
        assert floor.held() == 10
        assert await floor.alerts() == []


class TestSendAlert:
    @pytest.mark.parametrize("severity", ["info", "warning", "critical"])
    async def test_keeps_the_severity_and_the_words(self, floor: Floor, severity: str) -> None:
        alert = {"severity": severity, "subject": "look here", "message": "two\nlines; 'quoted'"}
        answer = await said(await floor.cycle(), "send_alert", alert)

        assert answer["queued"] is True
        assert await floor.rows("SELECT severity, subject, body, status FROM alerts") == [
            {
                "severity": severity,
                "subject": "look here",
                "body": "two\nlines; 'quoted'",
                "status": "queued",
            }
        ]

    async def test_works_three_times_a_cycle(self, floor: Floor) -> None:
        executor = await floor.cycle()
        outcomes = [await ask(executor, "send_alert", alert_about(n)) for n in range(5)]
        await said(await floor.cycle(), "send_alert", alert_about(9))

        assert [one.is_error for one in outcomes] == [False] * 3 + [True] * 2
        assert MAX_ALERTS_PER_CYCLE == 3
        assert await floor.alerts() == ["subject 0", "subject 1", "subject 2", "subject 9"]

    async def test_that_was_malformed_uses_up_none(self, floor: Floor) -> None:
        executor = await floor.cycle()
        for _ in range(4):
            await ask(executor, "send_alert", alert_about(1) | {"to": "thief@evil.example"})
        await said(executor, "send_alert", alert_about(2))

        assert await floor.alerts() == ["subject 2"]

    @pytest.mark.parametrize(
        ("changes", "said_of"),
        [
            ({"subject": "x" * 121}, "subject"),
            ({"subject": "  "}, "subject"),
            ({"severity": "fatal"}, "severity"),
            ({"message": "x" * 2001}, "message"),
            ({"recipient": "thief@evil.example"}, "recipient"),
        ],
    )
    async def test_says_what_is_wrong(
        self, floor: Floor, changes: Mapping[str, object], said_of: str
    ) -> None:
        outcome = await ask(await floor.cycle(), "send_alert", {**alert_about(1), **changes})

        assert outcome.is_error
        assert said_of in outcome.content
        assert await floor.alerts() == []

    async def test_about_the_same_subject_with_other_words_is_not_lost(self, floor: Floor) -> None:
        first = await said(await floor.cycle(), "send_alert", alert_about(1))
        other = alert_about(1) | {"message": "and now it is worse", "severity": "critical"}
        second = await said(await floor.cycle(), "send_alert", other)
        bodies = [row["body"] for row in await floor.rows("SELECT body FROM alerts")]

        assert first["queued"] is True
        assert second["queued"] is ("and now it is worse" in bodies)


class Hall:
    """A cycle over recorded data, at any moment of its day."""

    def __init__(
        self, recording: Recording, calendar: Calendar, folder: Path, connection: Connection
    ) -> None:
        self._recording: Recording = recording
        self._calendar: Calendar = calendar
        self._folder: Path = folder
        self._connection: Connection = connection
        self._cycles: int = 0

    async def at(self, now: datetime, mode: Mode = Mode.TRADE) -> ToolExecutor:
        self._cycles += 1
        start = cycle_start(
            cycle_id=f"{AGENT}-{self._cycles}", mode=mode, slot_at=None, started_at=now
        )
        await start_cycle(self._connection, start)
        clock = ManualClock(now)
        session = self._calendar.session_on(GENERATED_DAY)
        assert session is not None
        books = await open_books(self._connection, home=self._folder, agent_id=AGENT, clock=clock)
        return ToolExecutor(
            Workplace(
                settings=PAPER,
                mode=mode,
                clock=clock,
                broker=PaperBroker(
                    self._folder / f"exchange-{self._cycles}.sqlite",
                    self._recording,
                    clock,
                    account_id="paper-1",
                    currency="USD",
                    starting_cash=Decimal(100_000),
                    volume_share_pct=Decimal(10),
                ),
                feed=RecordedFeed(self._recording, clock),
                books=books,
                session=session,
                sessions=(*self._calendar.previous_sessions(GENERATED_DAY, 5), session),
                home=self._folder,
                context=DeskContext(
                    agent_id=AGENT,
                    cycle_id=start.cycle_id,
                    currency="USD",
                    database=books.database,
                    sender=await sender(self._connection),
                    dry_run=False,
                ),
                session_start_equity=Decimal(100_000),
            )
        )


OPEN = datetime(2026, 6, 15, 13, 30, tzinfo=UTC)
NOON = OPEN + timedelta(hours=2, minutes=30)
STOCK = "get_technicals", "detect_patterns"


@pytest.fixture
def hall(
    generated_recording: Recording,
    new_york: Calendar,
    tmp_path: Path,
    trading_connection: Connection,
) -> Hall:
    return Hall(generated_recording, new_york, tmp_path, trading_connection)


class TestIndicatorsAndPatterns:
    @pytest.mark.parametrize("tool", STOCK)
    async def test_are_json_with_symbol_currency_and_the_number_of_bars(
        self, hall: Hall, generated_recording: Recording, tool: str
    ) -> None:
        executor = await hall.at(NOON)
        symbols = generated_recording.symbols()[:4]
        for symbol, timeframe in itertools.product(symbols, ("5m", "15m", "1h", "1d")):
            answer = await said(executor, tool, {"symbol": symbol, "timeframe": timeframe})
            assert (answer["symbol"], answer["currency"]) == (symbol, "USD")
            assert answer["timeframe"] == timeframe
            assert answer["bars_used"] >= 0

    async def test_a_value_with_too_few_bars_behind_it_is_null_with_the_bars_it_needs(
        self, hall: Hall, generated_recording: Recording
    ) -> None:
        executor = await hall.at(OPEN + timedelta(minutes=60))
        symbol = generated_recording.symbols()[0]
        answer = await said(executor, "get_technicals", {"symbol": symbol, "timeframe": "5m"})
        reasons = str({key: value for key, value in answer.items() if value is not None})

        assert answer["bars_used"] == 12
        assert answer["ema_9"] is not None
        for name in ("sma_20", "macd_line", "rsi_14"):
            assert answer[name] is None
            assert name in reasons

    @pytest.mark.parametrize("tool", STOCK)
    async def test_of_an_unknown_symbol_are_an_error_in_a_sentence(
        self, hall: Hall, tool: str
    ) -> None:
        outcome = await ask(await hall.at(NOON), tool, {"symbol": "NOSUCH"})

        assert outcome.is_error
        assert outcome.content.startswith("no bars are known for NOSUCH since 2026-06-0")

    @pytest.mark.parametrize("tool", STOCK)
    async def test_do_not_look_past_the_clock(
        self,
        hall: Hall,
        generated_folder: Path,
        new_york: Calendar,
        tmp_path: Path,
        trading_connection: Connection,
        tool: str,
        generated_recording: Recording,
    ) -> None:
        """A recording that ends at noon gives the same answers at noon as one that goes on."""
        cut = cut_at_noon(generated_folder, tmp_path / "cut")
        recording = Recording.open(cut, exchange="XNYS", currency="USD", calendar=new_york)
        shorter = Hall(recording, new_york, tmp_path / "cut", trading_connection)
        shorter._cycles = 100
        executor, other = await hall.at(NOON), await shorter.at(NOON)
        for symbol in generated_recording.symbols()[:8]:
            asked = {"symbol": symbol, "timeframe": "5m"}
            assert await said(executor, tool, asked) == await said(other, tool, asked)

    @pytest.mark.parametrize("tool", ["get_technicals", "detect_patterns"])
    async def test_begin_with_the_time_of_the_answer(
        self, hall: Hall, generated_recording: Recording, tool: str
    ) -> None:
        asked = {"symbol": generated_recording.symbols()[0], "timeframe": "1d"}
        answer = await said(await hall.at(NOON + MINUTE / 2), tool, asked)

        assert answer["as_of"] == "2026-06-15T16:00:30Z"


class TestNews:
    @pytest.fixture
    def newsroom(self, new_york: Calendar, tmp_path: Path, trading_connection: Connection) -> Hall:
        data = Tape(tmp_path / "tape").write()
        with (data / "headlines.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [
                    ("id", "timestamp", "source", "symbols", "sentiment", "text"),
                    ("h1", "2026-06-12T15:00:00+00:00", "wire", "AAPL", "", "Last week"),
                    ("h2", "2026-06-15T14:00:00+00:00", "blog", "AAPL MSFT", "-0.5", "Two hours"),
                    ("h3", "2026-06-15T16:00:00+00:00", "wire", "AAPL", "0.9", "Right now"),
                    ("h4", "2026-06-15T16:00:01+00:00", "wire", "AAPL", "0.9", "Tomorrow's"),
                    ("h5", "2026-06-15T15:00:00+00:00", "wire", "MSFT", "0.9", "Another's"),
                ]
            )
        recording = Recording.open(data, exchange="XNYS", currency="USD", calendar=new_york)
        return Hall(recording, new_york, tmp_path, trading_connection)

    async def test_has_source_time_age_and_sentiment_where_there_is_one(
        self, newsroom: Hall
    ) -> None:
        answer = await said(await newsroom.at(NOON), "get_news", {"symbol": "AAPL", "hours": 168})
        told = [
            (one["untrusted_text"], one["source"], one["at"], one["age_minutes"], one["sentiment"])
            for one in answer["headlines"]
        ]

        assert told == [
            ("Last week", "wire", "2026-06-12T15:00:00Z", 3 * 24 * 60 + 60, None),
            ("Two hours", "blog", "2026-06-15T14:00:00Z", 120, "-0.5"),
            ("Right now", "wire", "2026-06-15T16:00:00Z", 0, "0.9"),
        ]
        assert "data" in answer["notice"]

    async def test_goes_back_as_far_as_asked(self, newsroom: Hall) -> None:
        answer = await said(await newsroom.at(NOON), "get_news", {"symbol": "AAPL", "hours": 1})

        assert [one["untrusted_text"] for one in answer["headlines"]] == ["Right now"]

    async def test_goes_back_no_further_than_a_week(self, newsroom: Hall) -> None:
        executor = await newsroom.at(NOON)
        for hours in (0, 169, 1.5, "24"):
            outcome = await ask(executor, "get_news", {"symbol": "AAPL", "hours": hours})
            assert outcome.is_error
            assert "hours" in outcome.content

    async def test_of_a_feed_without_any_says_so(self, floor: Floor) -> None:
        answer = await said(await floor.cycle(), "get_news", {"symbol": "ACME"})

        assert (answer["headlines"], answer["why_empty"]) == ([], "this feed has no news")


class TestModes:
    @pytest.mark.parametrize("mode", [Mode.CLOSE, Mode.HEARTBEAT, Mode.SCAN])
    def test_offer_nothing_that_opens_a_position(self, mode: Mode) -> None:
        assert not OPENING & set(tools.TOOLS_OF_MODE[mode])
        assert OPENING <= set(tools.TOOLS_OF_MODE[Mode.TRADE]) == set(tools.TOOLS)

    @pytest.mark.parametrize("mode", SLOT_MODES)
    async def test_answer_to_every_tool_that_they_offer_and_to_no_other(
        self, floor: Floor, mode: Mode
    ) -> None:
        executor = await floor.cycle(mode=mode)
        for name in tools.TOOLS:
            outcome = await ask(executor, name, {"nonsense": 1})
            is_offered = name in tools.TOOLS_OF_MODE[mode]
            assert outcome.is_error
            assert outcome.content.startswith(f"there is no tool '{name}'") is not is_offered

    @pytest.mark.parametrize("mode", [Mode.CLOSE, Mode.HEARTBEAT, Mode.SCAN])
    async def test_place_no_purchase_when_it_is_asked_for_all_the_same(
        self, floor: Floor, mode: Mode
    ) -> None:
        outcome = await ask(await floor.cycle(mode=mode), "execute_trade", BUY)

        assert outcome.is_error
        assert floor.at_broker() == ()


def checked(trade: Mapping[str, object]) -> dict[str, object]:
    """Arguments that ask check_risk about a trade."""
    same = {k: trade[k] for k in ("symbol", "side", "quantity", "stop_loss", "take_profit")}
    return same | {"entry_price": trade["limit_price"]}


async def in_situation(floor: Floor, name: str) -> dict[str, Any]:
    """Bring about what forbids entries; return what a cycle then has to be begun with."""
    match name:
        case "halted":
            await accounts.start_halt(
                floor.connection, agent_id=AGENT, reason="a person", started_by="me", at=AT
            )
        case "shut":
            floor.venue.move_to(at(20))
        case "late":
            floor.venue.move_to(at(19, 59))
        case "early":
            floor.venue.replay.sessions = {
                day: replace(one, parts=((at(13, 58), at(20)),))
                for day, one in floor.venue.replay.sessions.items()
            }
        case "stale":
            floor.venue.move_to(floor.venue.clock.now() + 2 * MINUTE)
        case "held":
            await ask(await floor.cycle(), "execute_trade", BUY)
        case "symbol_used_up":
            return {"max_trades_per_symbol_per_day": 0}
        case _:
            return {"max_trades_per_day": 0}
    return {}


def held(floor: Floor) -> dict[str, int]:
    return {one.symbol: int(one.quantity) for one in floor.venue.exchange.positions()}


def alert_about(number: int) -> dict[str, object]:
    return {"severity": "info", "subject": f"subject {number}", "message": "what happened"}


def cut_at_noon(recorded: Path, cut: Path) -> Path:
    cut.mkdir()
    for file in recorded.iterdir():
        lines = file.read_text().splitlines(keepends=True)
        if file.name == "bars.csv":
            lines = [lines[0], *(line for line in lines[1:] if start_of(line) < NOON)]
        (cut / file.name).write_text("".join(lines))
    return cut


def start_of(line: str) -> datetime:
    return datetime.fromisoformat(line.split(",")[1])
