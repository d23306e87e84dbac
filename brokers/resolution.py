"""Keeps the database level with the broker, and finds out what became of orders whose outcome is not known.

An order is proven absent only by two full reads, some time apart, both after its sender was over.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from brokers.base import Broker
from brokers.clerk import Clerk
from shared.clock import Clock
from shared.database import orders, positions
from shared.database.orders import OrderRecord
from shared.models import Fill, Order
from shared.order_life import OrderState

ABSENCE_SECONDS = 10.0
"""How far apart two reads have to be that together prove an order absent."""

_READ_BACK = timedelta(days=1)


def is_proven_absent(*, first_read_at: datetime, read_at: datetime) -> bool:
    """Whether two full reads without the order, begun at these times, prove that it is not there.

    Both have to be begun after the transport that may still deliver it was closed.
    """
    return read_at - first_read_at >= timedelta(seconds=ABSENCE_SECONDS)


class Resolution:
    """What is learnt from the broker in one cycle."""

    def __init__(self, *, broker: Broker, clerk: Clerk, clock: Clock) -> None:
        """Bring together who is asked and who writes it down."""
        self._broker: Broker = broker
        self._clerk: Clerk = clerk
        self._clock: Clock = clock

    async def synchronise(self) -> tuple[Fill, ...]:
        """Write what the broker knows about our orders into the database; return the new fills.

        Unresolved orders are looked up by their client order id and adopted when found. One that is not
        found stays unresolved until its absence is proven; an intent whose sender is over and that was
        never begun to be sent, which is committed before anything is sent, is settled as not placed.
        """
        agent_id = self._clerk.context.agent_id
        unresolved = await orders.unresolved_orders(self._clerk.connection, agent_id)
        fills: list[Fill] = []
        read_at = self._clock.now()
        listed = await self._all_orders(read_at)
        is_whole = await self._is_whole(listed)
        for record in unresolved:
            fills += await self._resolve(record, listed, read_at if is_whole else None)
        for order in listed:
            fills += await self._clerk.record(order)
        unexplained = await positions.unexplained_fills(self._clerk.connection, agent_id)
        if unexplained:
            await self._clerk.alert(
                "fills fit no position",
                f"These fills are known and explain no position: {', '.join(unexplained)}.",
                key=f"unexplained-{unexplained[-1]}",
            )
        await self._clerk.remember_stops()
        return tuple(fills)

    async def _all_orders(self, now: datetime) -> tuple[Order, ...]:
        """Read every order that can still have news: back to before the oldest that is not over."""
        began = await orders.unfinished_since(self._clerk.connection, self._clerk.context.agent_id)
        since = min(now, began or now) - _READ_BACK
        return await self._broker.orders(only_open=False, since=since)

    async def _is_whole(self, listed: Sequence[Order]) -> bool:
        """Whether the list has every order of ours that is known to rest: one that is cut off proves nothing."""
        known = await orders.open_orders(self._clerk.connection, self._clerk.context.agent_id)
        there = {order.broker_order_id for order in listed}
        return all(record.broker_order_id in there for record in known)

    async def _resolve(
        self, record: OrderRecord, listed: Sequence[Order], whole_at: datetime | None
    ) -> Sequence[Fill]:
        """Find out about one order; `whole_at` is when the list was read, if that list is whole."""
        in_list = (o for o in listed if o.client_order_id == record.client_order_id)
        found = next(in_list, None) or await self._looked_up(record)
        if found is not None:
            return await self._clerk.record(found)
        if not await orders.sender_is_over(self._clerk.connection, record.order_id):
            await self._tell(record, "whoever sent it may still be at it")
        elif record.status is OrderState.INTENT:
            why = "its process ended before it was sent"
            await self._clerk.move(record, OrderState.NOT_PLACED, why)
        elif whole_at is None:
            await self._tell(record, "the broker's list lacks orders that are known to rest")
        else:
            await self._note_absence(record, whole_at)
        return ()

    async def _note_absence(self, record: OrderRecord, read_at: datetime) -> None:
        first = await orders.note_absence(
            self._clerk.connection,
            order_id=record.order_id,
            at=read_at,
            source=self._clerk.context.cycle_id,
        )
        if is_proven_absent(first_read_at=first, read_at=read_at):
            times = f"{first:%H:%M:%S} and {read_at:%H:%M:%S} UTC"
            await self._clerk.move(
                record, OrderState.NOT_PLACED, f"proven absent by full reads at {times}"
            )
        else:
            await self._tell(record, "one look proves nothing")

    async def _tell(self, record: OrderRecord, why: str) -> None:
        await self._clerk.alert(
            f"order {record.client_order_id} is {record.status} and is not found",
            f"{record.side} {record.quantity} {record.symbol} of {record.created_at.isoformat()} is not"
            f" known to the broker by its id, and {why}: no new position is opened until it is found,"
            " proven absent, or settled by a person.",
            key=f"unresolved-{record.client_order_id}",
        )

    async def _looked_up(self, record: OrderRecord) -> Order | None:
        if record.client_order_id is None:
            return None
        return await self._broker.order_by_client_id(record.client_order_id)
