"""Closes a part of a session by rule: sells what may not be held past it, and looks again until nothing is.

Asks nobody. Every sale goes through the desk and past safety; which one is wanted is decided here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from agreement import unscheduled_closure
from brokers.drafts import is_left_behind
from lookout import Workplace
from shared.database import orders
from shared.database.orders import OrderRecord
from shared.models import OrderPurpose, SessionHours, Snapshot
from shared.order_life import OrderState
from shared.outcome import Status
from shared.schedule import may_hold_past
from tool_executor import ToolExecutor

_UNRESOLVED = frozenset({OrderState.INTENT, OrderState.SUBMITTING, OrderState.UNKNOWN})
_LONGEST_PAUSE_SECONDS = 60.0
_LOOKS_BEFORE_HANDING_OVER = 2
"""After so many looks that found nothing but unknown outcomes the next run has to prove them absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A position that is to be sold, and what is under way for it."""

    symbol: str
    quantity: int
    """By our own fills."""
    sales: tuple[OrderRecord, ...]
    """Ours that are not over."""
    snapshot: Snapshot

    @property
    def is_unknown(self) -> bool:
        """Whether a sale may or may not be at the broker."""
        return any(sale.status in _UNRESOLVED for sale in self.sales)

    @property
    def is_halted(self) -> bool:
        """Whether the symbol does not trade at the moment."""
        quote = self.snapshot.quotes.get(self.symbol)
        return quote is not None and quote.halted

    @property
    def wants_a_sale(self) -> bool:
        """Whether a sale has to be asked for, or moved to where the market has gone.

        Nothing is asked for beside a sale whose outcome, or whose cancel, is not known: it could sell twice.
        """
        if self.snapshot.market_is_open is False:
            return False
        if self.is_unknown or any(s.status is OrderState.CANCEL_PENDING for s in self.sales):
            return False
        covered = sum(sale.quantity - sale.filled_quantity for sale in self.sales)
        return covered < self.quantity or any(map(self._is_left_behind, self.sales))

    def state(self, problem: str | None) -> str:
        """Say why it is still held; `problem` is why the last sale did not come about."""
        said = f"{self.symbol} ({self.quantity} shares): "
        if self.is_halted:
            said += "trading is halted, "
        if self.is_unknown:
            return f"{said}the outcome of its sale is not known"
        if self.sales:
            filled = sum(sale.filled_quantity for sale in self.sales)
            return f"{said}its sale works at the exchange, {filled} shares of it are filled"
        return f"{said}no sale is under way: {problem or 'it was not asked for'}"

    def _is_left_behind(self, sale: OrderRecord) -> bool:
        return is_left_behind(sale.limit_price, self.symbol, self.snapshot)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """A sale that did not come about, and when it is tried again."""

    why: str
    pause_seconds: float
    until: datetime


@dataclass(slots=True, kw_only=True)
class Closing:
    """What one close run does by rule."""

    place: Workplace
    session: SessionHours
    executor: ToolExecutor
    slot_at: datetime | None
    """None for a run that a person forced."""
    _sold: list[str] = field(default_factory=list[str])
    _failures: dict[str, _Failure] = field(default_factory=dict[str, _Failure])
    _told: set[str] = field(default_factory=set[str])

    @property
    def may_hold(self) -> bool:
        """Whether positions may outlive the part of the session that trades now."""
        part = self._part()
        return part is not None and may_hold_past(self.place.settings.schedule, self.session, part)

    @property
    def past(self) -> str:
        """What a position that is not sold now would be held through."""
        return "overnight" if self._part() in {None, self.session.parts[-1]} else "over lunch"

    async def close(self, reason: str) -> tuple[Status, str]:
        """Sell what may not be held past this part of the session; `reason` says what came before.

        Whether that works, and nothing else, decides how the run went.
        """
        if not self.may_hold:
            return await self.sell_all(reason)
        held = await self.executor.lookout.positions_of_ours()
        return Status.DONE, f"{reason}; held {self.past}: {', '.join(held)}" if held else reason

    async def sell_all(self, reason: str) -> tuple[Status, str]:
        """Sell everything of ours, and look again until nothing is held or the time is up; then tell."""
        if self.place.context.dry_run:
            return Status.DONE, reason
        pause = self.place.settings.schedule.close_look_again_seconds
        until, looks_in_vain = self._until(), 0
        while held := await self._sell_and_look(reason):
            closed = await unscheduled_closure(self.executor, self.place, self.session)
            if closed is not None:
                return Status.NOTHING_TO_DO, closed
            if any(one.is_halted for one in held):
                await self._tell(held, reason)
            looks_in_vain = looks_in_vain + 1 if all(one.is_unknown for one in held) else 0
            is_last = self.place.clock.now() + timedelta(seconds=pause) > until
            if is_last or looks_in_vain >= _LOOKS_BEFORE_HANDING_OVER:
                break
            await self.place.clock.sleep(pause)
            await self.executor.orders.synchronise()
        said = f"{reason}; sold by rule: {', '.join(self._sold)}" if self._sold else reason
        if not held:
            return Status.DONE, said
        await self._tell(held, reason)
        return Status.FAILED, f"still held: {self._listed(held)}; {said}"

    def _part(self) -> tuple[datetime, datetime] | None:
        return self.session.part_at(self.place.clock.now())

    def _until(self) -> datetime:
        """When to stop waiting: shortly before the part ends; a forced run gets as long as one in its slot."""
        schedule, now = self.place.settings.schedule, self.place.clock.now()
        latest = now + timedelta(minutes=schedule.close_minutes_before_close)
        part = self._part()
        ends = latest if part is None else min(latest, part[1])
        return ends - timedelta(seconds=schedule.close_gives_up_seconds_before_end)

    async def _sell_and_look(self, why: str) -> tuple[Held, ...]:
        """Ask for every sale that is not under way; return what is held after that."""
        held = await self._look()
        wanted = [one.symbol for one in held if one.wants_a_sale and not self._is_paused(one)]
        if not wanted:
            return held
        for symbol in wanted:
            await self._sell(symbol, why)
        await self.executor.orders.synchronise()
        return await self._look()

    async def _sell(self, symbol: str, why: str) -> None:
        """Ask for one sale; one that does not come about is tried again after a while, each time a longer one."""
        problem = await self.executor.sell(symbol, why=why)
        last = self._failures.pop(symbol, None)
        if problem is None:
            self._sold += [] if symbol in self._sold else [symbol]
            return
        seconds = self.place.settings.schedule.close_look_again_seconds
        if last is not None:
            seconds = min(last.pause_seconds * 2, max(seconds, _LONGEST_PAUSE_SECONDS))
        until = self.place.clock.now() + timedelta(seconds=seconds)
        self._failures[symbol] = _Failure(why=problem, pause_seconds=seconds, until=until)

    def _is_paused(self, held: Held) -> bool:
        failure = self._failures.get(held.symbol)
        return failure is not None and self.place.clock.now() < failure.until

    async def _look(self) -> tuple[Held, ...]:
        connection, agent_id = self.place.connection, self.place.context.agent_id
        positions = await orders.open_positions(connection, agent_id)
        if not positions:
            return ()
        snapshot = await self.executor.look([position.symbol for position in positions])
        dust = await self.executor.orders.tell_of_dust(snapshot)
        sales = [
            order
            for order in (
                *await orders.open_orders(connection, agent_id),
                *await orders.unresolved_orders(connection, agent_id),
            )
            if order.order_purpose is OrderPurpose.EXIT
        ]
        return tuple(
            Held(
                symbol=position.symbol,
                quantity=position.quantity,
                sales=tuple(sale for sale in sales if sale.symbol == position.symbol),
                snapshot=snapshot,
            )
            for position in positions
            if position.symbol not in dust
        )

    async def _tell(self, held: Sequence[Held], reason: str) -> None:
        """Tell a person once a slot that these are still held, and why each is."""
        names = ", ".join(one.symbol for one in held)
        of = self.place.context.cycle_id if self.slot_at is None else f"{self.slot_at:%Y%m%dT%H%M}"
        key = f"not-sold-{of}-{names}"
        if key in self._told:
            return
        self._told.add(key)
        await self.executor.orders.alert(
            "positions are still held that should be sold",
            f"{self._listed(held)}. {reason}",
            key=key,
        )

    def _listed(self, held: Sequence[Held]) -> str:
        failures = {symbol: failure.why for symbol, failure in self._failures.items()}
        return "; ".join(one.state(failures.get(one.symbol)) for one in held)
