"""Leaves positions: moves the resting target to the market, so that the stop stays until the shares are sold.

Only where no target can be moved is the protection cancelled first, the cancel confirmed, no more sold
than is available, and the protection laid down anew when the sale fails. One process leaves a symbol at a time.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress

import safety
from brokers.base import Capabilities
from brokers.clerk import Clerk
from brokers.drafts import (
    exit_requests,
    is_open_entry,
    market_exit,
    naked_quantity,
    protecting_orders,
    protection_request,
)
from brokers.lots import whole_lots
from brokers.sending import Sending
from brokers.submissions import NotPlaced, Placed, Submission, why_not_resting
from shared.database import positions
from shared.database.orders import OrderRecord
from shared.database.positions import PositionRecord
from shared.errors import DatabaseUnavailable, ToolError
from shared.models import Order, OrderPurpose, OrderRequest, OrderType, Side, Snapshot
from shared.order_life import OrderState

_TRIES = 3
"""How often targets are moved that change between the look and the move; then their stop has to go."""

Look = Callable[[Collection[str]], Awaitable[Snapshot]]
"""Takes a fresh snapshot that has quotes and instruments for these symbols at least."""


class NotOwned(ToolError):
    """Another process leaves or protects the symbol, so that nothing is done twice."""


class OddLot(ToolError):
    """Less than a lot is held, which no exchange takes: asking again sells nothing."""


class Exits:
    """The ways out of a position, for one cycle."""

    def __init__(
        self, *, sending: Sending, clerk: Clerk, look: Look, capabilities: Capabilities
    ) -> None:
        """Bring together what a position is left with."""
        self._sending: Sending = sending
        self._clerk: Clerk = clerk
        self._look: Look = look
        self._capabilities: Capabilities = capabilities

    async def leave(
        self, symbol: str, *, why: str, quantity: int | None = None
    ) -> tuple[Submission, ...]:
        """Sell a whole position, through its resting targets where there are any.

        Entries that still rest in the symbol are cancelled first. Raises ToolError when a part is asked
        for, since the protective legs cover the whole, when nothing can be sold for want of a bid, and
        when another process is leaving the symbol.
        """
        async with self.owned(symbol):
            snapshot = await self._look((symbol,))
            ours = await self._clerk.ours(symbol, snapshot)
            if quantity is not None and 0 < quantity < ours:
                msg = (
                    f"positions are sold whole: {ours} shares of {symbol} are held, not {quantity}"
                )
                raise ToolError(msg)
            if any(is_open_entry(order, symbol) for order in snapshot.open_orders):
                await self.cancel_entries(snapshot, why=why, symbol=symbol)
                snapshot = await self._look((symbol,))
                quantity = None if quantity == ours else quantity
            wanted = quantity or await self._clerk.ours(symbol, snapshot)
            working, under_way = await self._market_sales(symbol, snapshot)
            left = self.sellable(symbol, wanted - under_way, snapshot)
            if working and left <= 0:
                return tuple(Placed(record=record, duplicate=True) for record in working)
            if left == 0 < wanted:
                raise OddLot(_too_little(symbol, wanted, snapshot))
            return await self._sell(symbol, left, snapshot, why=why)

    def sellable(self, symbol: str, quantity: int, snapshot: Snapshot) -> int:
        """Shares of a quantity that can be asked to be sold: whole lots where no stop holds the rest."""
        if self._capabilities.has_stops or quantity <= 0:
            return quantity
        return whole_lots(quantity, snapshot.instruments.get(symbol))

    async def cancel_entries(
        self,
        snapshot: Snapshot,
        *,
        why: str,
        symbol: str | None = None,
        wanted: Callable[[Order], bool] | None = None,
    ) -> tuple[Order, ...]:
        """Cancel entries of ours that still rest, or those of them that are `wanted`.

        What they filled so far stays and wants protection.
        """
        canceled: list[Order] = []
        for order in snapshot.open_orders:
            if (
                is_open_entry(order, symbol)
                and (wanted is None or wanted(order))
                and await self._clerk.own(order.client_order_id)
            ):
                found = await self._sending.cancel(order, snapshot, why=why)
                canceled += () if found is None else (found,)
        return tuple(canceled)

    async def _market_sales(self, symbol: str, snapshot: Snapshot) -> tuple[list[OrderRecord], int]:
        """Find our sales at the market that still work, and how many shares they have to sell."""
        found = [
            (record, order.remaining_quantity)
            for order in snapshot.open_orders
            if order.symbol == symbol
            and order.side is Side.SELL
            and order.order_type is OrderType.MARKET
            and (record := await self._clerk.own(order.client_order_id)) is not None
        ]
        return [record for record, _ in found], sum(remaining for _, remaining in found)

    async def _sell(
        self, symbol: str, quantity: int, snapshot: Snapshot, *, why: str
    ) -> tuple[Submission, ...]:
        asked: list[OrderRequest] = []
        for _ in range(_TRIES):
            if not self._targets_can_be_moved(symbol, quantity, snapshot):
                break
            requests = require_bid(exit_requests(symbol, quantity, snapshot), symbol)
            if not _has_changed(asked, requests):
                break
            made = tuple([await self._submit(request, snapshot, why=why) for request in requests])
            if not any(map(_was_turned_down, made)):
                return made
            asked, snapshot = requests, await self._look((symbol,))
            # what the broker would not move may just have been filled, or is being filled by its stop
            quantity = await self._clerk.ours(symbol, snapshot)
            if quantity == 0:
                return made
        return (await self._sell_unprotected(symbol, quantity, snapshot, why=why),)

    def _targets_can_be_moved(self, symbol: str, quantity: int, snapshot: Snapshot) -> bool:
        """Whether a sale is possible without taking a stop away: by its target, or of free shares."""
        held = snapshot.position(symbol)
        if held is None or quantity <= held.available or quantity > held.quantity:
            return True
        requests = exit_requests(symbol, quantity, snapshot)
        if requests is None:
            return True
        moved = sum(request.quantity for request in requests if request.replaces is not None)
        if moved and not self._capabilities.can_replace:
            return False
        return moved + held.available >= quantity

    async def _sell_unprotected(
        self, symbol: str, quantity: int, snapshot: Snapshot, *, why: str
    ) -> Submission:
        """Cancel what protects the position, sell what is then available, and re-arm if that fails."""
        if self._clerk.context.dry_run:
            return NotPlaced(request=market_exit(symbol, quantity))
        _require_whole_lots(symbol, quantity, snapshot)
        for order in protecting_orders(symbol, snapshot):
            found = await self._sending.cancel(order, snapshot, why=why, to_leave=True)
            if found is None or found.status.is_open:
                msg = (
                    f"{symbol} cannot be sold now: the cancel of order {order.broker_order_id}, which"
                    " protects it, was refused or is not confirmed"
                )
                await self._re_arm(symbol, msg)  # what another cancel took away already
                raise ToolError(msg)
        snapshot = await self._look((symbol,))
        held = snapshot.position(symbol)
        available = 0 if held is None else int(held.available)
        ours = await self._clerk.ours(symbol, snapshot)
        sellable = self.sellable(symbol, min(quantity, available, ours), snapshot)
        submission = await self._sending.submit(
            market_exit(symbol, sellable or quantity), snapshot, why=why
        )
        if why_not_resting(submission) is not None:
            await self._re_arm(symbol, why_not_resting(submission) or "")
        return submission

    async def _re_arm(self, symbol: str, why_not: str) -> None:
        """Protect again what could not be sold; what cannot be protected either is alerted.

        Where no stop can rest nothing was taken away: the monitor guards on, and its next pass asks again.
        """
        if not self._capabilities.has_stops:
            return
        snapshot = await self._look((symbol,))
        for record in await positions.open_positions(
            self._clerk.connection, self._clerk.context.agent_id
        ):
            naked = naked_quantity(symbol, record.quantity, snapshot)
            if record.symbol != symbol or naked == 0:
                continue
            submission = await self._sending.submit(
                protection_of(record, naked, snapshot), snapshot, why=f"its sale failed: {why_not}"
            )
            problem = why_not_resting(submission)
            said = "its stop rests again" if problem is None else f"and is NOT PROTECTED: {problem}"
            naked_now = "" if problem is None else ", and they are NOT PROTECTED"
            await self._clerk.alert(
                f"{symbol}: the sale of {naked} shares failed{naked_now}",
                f"{naked} shares of {symbol} could not be sold ({why_not}); {said}.",
                key=f"sale-failed-{record.position_id}-{self._clerk.context.cycle_id}",
            )

    async def _submit(self, request: OrderRequest, snapshot: Snapshot, *, why: str) -> Submission:
        """Submit an exit, unless what it would replace is the very same exit of this cycle."""
        replaced = (o for o in snapshot.open_orders if o.broker_order_id == request.replaces)
        target = next(replaced, None)
        record = None if target is None else await self._clerk.own(target.client_order_id)
        if (
            record is not None
            and record.order_purpose is OrderPurpose.EXIT
            and record.cycle_id == self._clerk.context.cycle_id
            and record.limit_price == request.limit_price
        ):
            return Placed(record=record, duplicate=True)
        return await self._sending.submit(request, snapshot, why=why)

    @asynccontextmanager
    async def owned(self, symbol: str) -> AsyncGenerator[None]:
        """Be the one process that sells or protects this symbol, for as long as the block runs.

        A process may own a symbol that it owns already. Raises NotOwned.
        """
        connection, agent_id = self._clerk.connection, self._clerk.context.agent_id
        if not await positions.own_exit(connection, agent_id=agent_id, symbol=symbol):
            msg = f"another process is leaving or protecting {symbol} at this moment"
            raise NotOwned(msg)
        try:
            yield
        finally:
            with suppress(DatabaseUnavailable):  # then the server has let go of it already
                await positions.release_exit(connection, agent_id=agent_id, symbol=symbol)


def require_bid(requests: list[OrderRequest] | None, symbol: str) -> list[OrderRequest]:
    """Return the requests. Raises ToolError where there can be none for want of a bid."""
    if requests is None:
        msg = f"no bid is known for {symbol}, so it cannot be sold now; its stop stays"
        raise ToolError(msg)
    return requests


def _require_whole_lots(symbol: str, quantity: int, snapshot: Snapshot) -> None:
    """Keep the protection of what no exchange would take: neither its sale nor its new stop.

    Raises ToolError.
    """
    instrument = snapshot.instruments.get(symbol)
    if instrument is not None and quantity % instrument.lot_size:
        msg = (
            f"{quantity} shares of {symbol} are no multiple of its lot of {instrument.lot_size}, so they"
            " cannot be sold as they are; their stop stays"
        )
        raise ToolError(msg)


def _too_little(symbol: str, quantity: int, snapshot: Snapshot) -> str:
    instrument = snapshot.instruments.get(symbol)
    lot = "?" if instrument is None else instrument.lot_size
    return (
        f"{quantity} shares of {symbol} are less than its lot of {lot}, so no order can sell them: a"
        " person has to sell the odd lot"
    )


def _has_changed(before: list[OrderRequest], now: list[OrderRequest]) -> bool:
    """Whether other shares are to be sold than those that the broker has just turned down; a price is none."""
    sales, left = ({(r.replaces, r.quantity) for r in requests} for requests in (before, now))
    return sales != left


def _was_turned_down(submission: Submission) -> bool:
    """Whether the broker would not move a target."""
    return (
        isinstance(submission, Placed)
        and submission.record.replaces is not None
        and submission.record.status is OrderState.REJECTED
    )


def protection_of(record: PositionRecord, quantity: int, snapshot: Snapshot) -> OrderRequest:
    """Ask for a position's own stop and target again, on the ticks that apply today."""
    request = protection_request(
        symbol=record.symbol,
        quantity=quantity,
        stop_loss=record.stop_loss,
        take_profit=record.take_profit,
    )
    instrument = snapshot.instruments.get(record.symbol)
    return request if instrument is None else safety.on_tick(request, instrument)
