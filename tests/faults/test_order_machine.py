"""An agent's orders under everything at once: a state machine over the paper exchange, the desk, and a database.

Hypothesis chooses what happens next; what a quiet exchange must show afterwards is asked at every end.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from brokers.desk import OrderDesk
from brokers.faults import _POSSIBLE, Fault, FaultKind, Operation
from shared.database.broker_reports import record_broker_order
from shared.embedded_postgres import Server
from shared.errors import CatalystError, InvalidTransition
from shared.models import Order
from tests.brokers.paper_venue import PaperVenue
from tests.faults.endings import Steps
from tests.faults.truth import read_truth
from tests.fixtures.broker_orders import AGENT
from tests.fixtures.databases import drop_database, new_database, open_connection
from tests.fixtures.faults import Say
from tests.fixtures.floor import SYMBOL, Floor, draft

SEED = 20260615
EXAMPLES = 60
STEPS = 40
FEWEST_STEPS = 2_000

STARTING_CASH = Decimal(100_000)
CENT = Decimal("0.01")
LOOSE: dict[str, Any] = {
    "max_position_value": Decimal(15_000),
    "max_trades_per_day": 1000,
    "max_trades_per_symbol_per_day": 1000,
    "cooldown_minutes_after_loss": 0,
}
"""Limits under which there is something to go wrong."""

HEALTHY = {Operation.ACCOUNT, Operation.INSTRUMENT}
FAULTS = tuple(
    (operation, kind)
    for operation in Operation
    for kind in FaultKind
    if operation in _POSSIBLE.get(kind, frozenset(Operation))
    and operation not in HEALTHY
    and kind is not FaultKind.SILENCE  # it waits in real time
)
FAULTS_OF_ANY_KIND = st.sampled_from(sorted({kind for _, kind in FAULTS})).flatmap(
    lambda kind: st.sampled_from([fault for fault in FAULTS if fault[1] is kind])
)
"""Each kind as often as any other, however few operations it can befall."""
MOVES = {"up": "1.01", "down": "0.99", "even": "1", "gap up": "1.06", "gap down": "0.94"}

Answer = TypeVar("Answer")


@dataclass
class Tally:
    """What all examples together did."""

    done: Counter[str] = field(default_factory=Counter[str])
    ended_early: int = 0
    """Steps that raised one of our own errors, or were cancelled."""
    sent: int = 0
    """Orders that the exchanges had."""

    @property
    def steps(self) -> int:
        """How many rules were played."""
        return self.done.total()


class OrderMachine(RuleBasedStateMachine):
    """One account, one symbol, one agent whose processes come and go."""

    def __init__(self, server: Server, template: str, tally: Tally) -> None:
        super().__init__()
        self._server: Server = server
        self._tally: Tally = tally
        self._folder: TemporaryDirectory[str] = TemporaryDirectory()
        self._runner: asyncio.Runner = asyncio.Runner()
        self._name: str = self._run(new_database(server, template=template))
        self._venue: PaperVenue = PaperVenue(Path(self._folder.name) / "paper.sqlite3")
        self._processes: int = 0
        self._price: Decimal = Decimal(100)
        self._heard: list[Order] = []
        self._floor: Floor
        self._desk: OrderDesk
        self._start_a_process()
        self._next_cycle()

    # -- what the agent does

    @initialize(quantity=st.integers(0, 40))
    def begin_with_a_position(self, quantity: int) -> None:
        """Most of what goes wrong needs something that is held."""
        if quantity:
            self._try("enter", self._enter(quantity))

    @rule(quantity=st.integers(1, 100))
    def enter(self, quantity: int) -> None:
        """Buy at the market."""
        self._try("enter", self._enter(quantity))

    @rule(quantity=st.integers(1, 40))
    def enter_on_a_dip(self, quantity: int) -> None:
        """Buy a percent below the market."""
        self._try("enter", self._enter(quantity, below=Decimal("0.99")))

    @rule()
    def leave(self) -> None:
        """Sell all."""
        self._try("exit", self._desk.exit(SYMBOL, why="the machine says so"))

    @rule()
    def cancel_entries(self) -> None:
        """Cancel what rests, and protect what filled."""
        self._try("cancel", self._desk.tidy(why="the machine says so", all_entries=True))

    @rule()
    def next_cycle(self) -> None:
        """Begin the next cycle as cycles begin."""
        self._next_cycle()
        self._try("cycle", self._level())

    @rule(at=st.integers(1, 60))
    def die_in_a_cycle(self, at: int) -> None:
        """Begin a cycle, and end at one of its awaits."""
        self._next_cycle()
        steps = Steps(self._level(), cancel_at=at)
        self._try("death in a cycle", steps.run())
        self._start_a_process()
        self._next_cycle()

    @rule(at=st.integers(1, 60), quantity=st.integers(1, 40))
    def die_while_buying(self, at: int, quantity: int) -> None:
        """Ask for an entry, and end at one of its awaits."""
        self._die_while(self._enter(quantity), at)

    @rule(at=st.integers(1, 60))
    def die_while_selling(self, at: int) -> None:
        """Ask for an exit, and end at one of its awaits."""
        self._die_while(self._desk.exit(SYMBOL, why="the machine says so"), at)

    @rule()
    def crash(self) -> None:
        """Drop the desk and its connection, as they are."""
        self._count("crash")
        self._start_a_process()
        self._next_cycle()

    # -- what the world does

    @rule(move=st.sampled_from(sorted(MOVES)), volume=st.sampled_from([0, 50, 300, 3000]))
    def minute(self, move: str, volume: int) -> None:
        """A minute of trading."""
        self._count("minute")
        opened = self._price
        if "gap" in move:
            opened = self._on_tick(self._price * Decimal(MOVES[move]))
        close = self._on_tick(min(max(opened * Decimal(MOVES[move]), Decimal(20)), Decimal(500)))
        self._price = close
        self._venue.trade(opened, max(opened, close), min(opened, close), close, volume=volume)

    @rule(minutes=st.sampled_from([1, 1, 5, 20]))
    def time_passes(self, minutes: int) -> None:
        """Nothing trades for a while."""
        self._count("time")
        self._pass_time(timedelta(minutes=minutes))

    @rule(fault=FAULTS_OF_ANY_KIND, quantity=st.integers(1, 9), times=st.sampled_from([1, 2]))
    def go_wrong(self, fault: tuple[Operation, FaultKind], quantity: int, times: int) -> None:
        """Let the next calls of one kind go wrong."""
        self._count(fault[1])
        operation, kind = fault
        self._venue.faults.add(
            Fault(operation=operation, kind=kind, quantity=quantity, times=times)
        )

    @rule(back=st.integers(0, 30))
    def hear_an_old_report_again(self, back: int) -> None:
        """A report comes twice, or after a newer one."""
        self._count("old report")
        self._heard += self._venue.exchange.orders(only_open=False)
        order = self._heard[-1 - back % len(self._heard)] if self._heard else None
        if order is not None:
            self._run(self._hear(order))

    # -- what has to hold

    @invariant()
    def every_order_was_meant_and_sent_once(self) -> None:
        """Whatever just happened, an order at the exchange has exactly one intent in the database."""
        parents = [
            order.client_order_id
            for order in self._venue.exchange.orders(only_open=False)
            if order.parent_order_id is None
        ]
        rows = self._run(self._floor.rows("SELECT client_order_id FROM orders"))

        assert len(parents) == len(set(parents))
        assert set(parents) <= {row["client_order_id"] for row in rows}
        assert all(held.quantity > 0 for held in self._venue.exchange.positions())

    def teardown(self) -> None:
        """Let the exchange be well again, and ask for the truth."""
        try:
            if self._floor_is_open():
                self._settle()
        finally:
            self._tally.sent += len(self._venue.exchange.orders(only_open=False))
            self._floor.connection.terminate()
            self._venue.exchange.close()
            self._run(drop_database(self._server, self._name))
            self._runner.close()
            self._folder.cleanup()

    def _settle(self) -> None:
        self._venue.faults._script.clear()
        for _ in range(3):
            self._start_a_process()
            self._next_cycle()
            self._run(self._level())
            self._pass_time(timedelta(minutes=1))
        self._start_a_process()
        self._next_cycle()
        self._run(self._desk.synchronise())
        truth = self._run(read_truth(self._venue.exchange, self._floor.connection, AGENT))

        assert truth.violations() == []
        if not truth.unresolved and not truth.locked:
            assert self._run(self._booked_cash()) == self._venue.exchange.account().cash

    # -- how

    async def _enter(self, quantity: int, *, below: Decimal = Decimal(1)) -> None:
        limit = self._on_tick((self._price + CENT) * below)
        request = draft(
            quantity,
            limit=str(limit),
            stop_loss=self._on_tick(limit * Decimal("0.97")),
            take_profit=self._on_tick(limit * Decimal("1.07")),
        )
        await self._desk.enter(request, why="the machine says so")

    async def _booked_cash(self) -> Decimal:
        """Cash as it follows from the fills in the database."""
        (row,) = await self._floor.rows(
            "SELECT coalesce(sum(CASE side WHEN 'buy' THEN -1 ELSE 1 END * quantity * price), 0)"
            " - (SELECT coalesce(sum(amount), 0) FROM fill_fees) AS change FROM fills"
        )
        return STARTING_CASH + row["change"]

    async def _level(self) -> None:
        await self._desk.synchronise()
        await self._desk.tidy(why="its time is over")

    async def _hear(self, order: Order) -> None:
        try:
            await record_broker_order(
                self._floor.connection,
                agent_id=AGENT,
                order=order,
                at=self._venue.clock.now(),
                source="heard again",
            )
        except InvalidTransition as error:
            await self._desk.alert(f"{order.symbol}: {error}", "heard again", key=str(error))

    def _die_while(self, asking: Coroutine[Any, Any, object], at: int) -> None:
        async def ask() -> None:
            await asking

        self._try("death while trading", Steps(ask(), cancel_at=at).run())
        self._start_a_process()
        self._next_cycle()

    def _start_a_process(self) -> None:
        """Be a fresh process, with the connection of the one before gone."""
        if self._processes:
            self._floor.connection.terminate()
        self._processes += 1
        connection = self._run(open_connection(self._server.dsn(self._name)))
        self._floor = Floor(
            self._venue, connection, Path(self._folder.name), 1000 * self._processes
        )

    def _next_cycle(self) -> None:
        self._desk = self._run(self._floor.desk(**LOOSE))

    def _floor_is_open(self) -> bool:
        return not self._floor.connection.is_closed()

    def _try(self, what: str, doing: Coroutine[Any, Any, object]) -> None:
        """Do something that may end early, but only in a way that is foreseen."""
        self._count(what)
        try:
            self._run(doing)
        except (CatalystError, asyncio.CancelledError):
            self._tally.ended_early += 1

    def _count(self, what: str) -> None:
        self._tally.done[what] += 1

    def _run(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        return self._runner.run(coroutine)

    def _pass_time(self, wait: timedelta) -> None:
        self._venue.clock.move_to(self._venue.clock.now() + wait)

    def _on_tick(self, price: Decimal) -> Decimal:
        return price // CENT * CENT


def test_whatever_happens_orders_stay_single_protected_and_true(
    postgres_server: Server, trading_template: str, say: Say
) -> None:
    tally = Tally()

    class Machine(OrderMachine):
        def __init__(self) -> None:
            super().__init__(postgres_server, trading_template, tally)

    run_state_machine_as_test(
        seed(SEED)(Machine),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=False,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
            print_blob=True,
        ),
    )

    say(f"the machine of orders: seed {SEED}, {tally.steps} steps, {tally.sent} orders")
    assert tally.steps >= FEWEST_STEPS
    assert set(tally.done) >= {kind.value for _, kind in FAULTS} | {"enter", "exit", "crash"}
