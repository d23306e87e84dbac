"""Sees to it that every share of ours has a stop in force, and records the times in which one had none."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from brokers.base import Broker
from brokers.clerk import Clerk
from brokers.drafts import (
    is_open_entry,
    is_through,
    may_be_through,
    naked_quantity,
    targets_without_stop,
)
from brokers.exits import Exits, Look, NotOwned, protection_of
from brokers.exposure import NakedSpell, naked_spells
from brokers.sending import Sending
from brokers.submissions import Placed, Submission, why_not_resting
from shared import log
from shared.clock import Clock
from shared.config import OrderSettings
from shared.database import orders, positions
from shared.database.positions import PositionRecord
from shared.errors import ToolError
from shared.models import Order, OrderPurpose, Snapshot
from shared.order_life import OrderState

logger = log.get(__name__)

_LOOKED_BACK = timedelta(hours=1)
"""Positions that closed within it are looked at once more: longer than from one run to the next."""


class Protection:
    """The stops of one cycle's positions."""

    def __init__(
        self,
        *,
        broker: Broker,
        sending: Sending,
        exits: Exits,
        clerk: Clerk,
        clock: Clock,
        settings: OrderSettings,
        look: Look,
    ) -> None:
        """Bring together what protects."""
        self._broker: Broker = broker
        self._sending: Sending = sending
        self._exits: Exits = exits
        self._clerk: Clerk = clerk
        self._clock: Clock = clock
        self._settings: OrderSettings = settings
        self._look: Look = look

    def is_due(self, entry: Order) -> bool:
        """Whether a resting entry has to go: its life is over, or it filled in part, which is naked.

        Where no stop can rest the monitor guards what filled from its next pass on, and the rest of the
        entry may go on filling: a cancel would win nothing. Whoever leaves the position cancels it first.
        """
        age = self._clock.now() - entry.submitted_at
        lifetime = timedelta(minutes=self._settings.entry_lifetime_minutes)
        is_naked = entry.filled_quantity > 0 and self._broker.capabilities.has_stops
        return is_naked or age >= lifetime

    async def protect(self, snapshot: Snapshot) -> tuple[Submission, ...]:
        """Rest a stop and a target for every share of ours that has none.

        Stop and target are those of the entry. What cannot be protected is alerted, never skipped; beside
        an entry that can still fill nothing is laid down, since brokers take that for a wash trade.
        """
        if not self._broker.capabilities.has_stops:
            return ()
        made: list[Submission] = []
        for record in await self._positions():
            if naked_quantity(record.symbol, record.quantity, snapshot) > 0:
                made += await self._protect(record)
        await self._record_spells()
        return tuple(made)

    async def _protect(self, record: PositionRecord) -> Sequence[Submission]:
        """Look again as the one process that sells or protects the symbol, and protect what is naked then."""
        if self._clerk.context.dry_run:
            return ()
        try:
            async with self._exits.owned(record.symbol):
                snapshot = await self._look((record.symbol,))
                naked = naked_quantity(record.symbol, record.quantity, snapshot)
                return await self._protect_naked(record, naked, snapshot) if naked > 0 else ()
        except NotOwned as error:
            logger.info("left_to_another_process", symbol=record.symbol, why=str(error))
            return ()

    async def _protect_naked(
        self, record: PositionRecord, naked: int, snapshot: Snapshot
    ) -> Sequence[Submission]:
        """Rest an OCO for naked shares; where the price is through the stop already, sell them."""
        symbol, key = record.symbol, f"{record.symbol}-{record.position_id}"
        await self._clerk.alert(
            f"{symbol}: {naked} shares had no resting stop",
            f"{naked} of {record.quantity} shares of {symbol} were found without a stop at"
            f" {snapshot.taken_at.isoformat()}.",
            key=f"naked-{key}",
        )
        if any(is_open_entry(order, symbol) for order in snapshot.open_orders):
            why_not = ["an entry of the symbol is not over yet"]
            submissions: tuple[Submission, ...] = ()
        else:
            submissions, why_not = await self._secure(record, naked, snapshot)
        for why in why_not:
            await self._clerk.alert(
                f"{symbol}: {naked} shares are not protected",
                f"No stop could be placed for {naked} shares of {symbol}: {why}",
                key=f"unprotected-{key}",
            )
        return submissions

    async def _secure(
        self, record: PositionRecord, naked: int, snapshot: Snapshot
    ) -> tuple[tuple[Submission, ...], list[str]]:
        """Return what was sent, and why some of it protects nothing."""
        symbol, stop_loss = record.symbol, record.stop_loss
        if is_through(stop_loss, symbol, snapshot):
            return await self._leave(record)
        snapshot = await self._without_lone_targets(record, naked, snapshot)
        naked = naked_quantity(symbol, record.quantity, snapshot)
        if naked == 0:
            return (), []
        made = await self._sending.submit(
            protection_of(record, naked, snapshot), snapshot, why="protect what has no stop"
        )
        problem = why_not_resting(made)
        if problem is None:
            return (made,), []
        if _was_rejected(made) and may_be_through(stop_loss, symbol, await self._look((symbol,))):
            sold, why_not = await self._leave(record)
            return (made, *sold), why_not
        return (made,), [problem]

    async def _leave(self, record: PositionRecord) -> tuple[tuple[Submission, ...], list[str]]:
        """Sell what cannot be protected because the price is through its stop."""
        try:
            sold = await self._exits.leave(
                record.symbol, why=f"the price is through {record.stop_loss}"
            )
        except ToolError as error:
            return (), [str(error)]
        return sold, list(filter(None, map(why_not_resting, sold)))

    async def _without_lone_targets(
        self, record: PositionRecord, naked: int, snapshot: Snapshot
    ) -> Snapshot:
        """Cancel targets that lost their stop, where the shares under them are needed for a new one."""
        held = snapshot.position(record.symbol)
        if held is None or held.available >= naked:
            return snapshot
        ours = await orders.broker_ids_of_symbol(
            self._clerk.connection, record.agent_id, record.symbol
        )
        for target in targets_without_stop(record.symbol, snapshot):
            if target.broker_order_id not in ours:
                continue
            own = await self._clerk.own(target.client_order_id)
            if own is not None and own.order_purpose is OrderPurpose.EXIT:
                continue  # it sells already
            why = "its stop is gone, and a new one needs the shares"
            await self._sending.cancel(target, snapshot, why=why, to_leave=True)
        return await self._look((record.symbol,))

    async def _record_spells(self) -> None:
        """Keep every time in which shares of a position were naked; one that lasts is an alarm.

        Those of what was sold meanwhile too: it was naked up to then.
        """
        if self._clerk.context.dry_run:
            return
        accounted = await positions.to_account_for(
            self._clerk.connection,
            self._clerk.context.agent_id,
            closed_since=self._clock.now() - _LOOKED_BACK,
        )
        if not accounted:
            return
        since = min(record.opened_at for record in accounted) - timedelta(days=1)
        listed = await self._broker.orders(only_open=False, since=since)
        now = self._clock.now()
        for record in accounted:
            ours = await orders.broker_ids_of_symbol(
                self._clerk.connection, record.agent_id, record.symbol
            )
            closed_at = record.closed_at or now
            for spell in naked_spells([o for o in listed if o.broker_order_id in ours], now):
                if record.opened_at <= spell.began_at <= closed_at:
                    await self._record_spell(record, spell, now)

    async def _record_spell(self, record: PositionRecord, spell: NakedSpell, now: datetime) -> None:
        kept = await positions.note_spell(
            self._clerk.connection,
            position=record,
            quantity=spell.quantity,
            began_at=spell.began_at,
            ended_at=spell.ended_at,
        )
        seconds = spell.seconds(now)
        if kept.alarmed_at is not None or seconds <= self._settings.unprotected_alarm_seconds:
            return
        lasts = "since" if spell.ended_at is None else "from"
        await self._clerk.alert(
            f"{record.symbol}: {spell.quantity} shares were without a stop for {seconds:.0f} seconds",
            f"{spell.quantity} shares of {record.symbol} had no stop in force {lasts}"
            f" {spell.began_at.isoformat()}, for {seconds:.0f} seconds;"
            f" {self._settings.unprotected_alarm_seconds:.0f} are allowed.",
            key=f"spell-{kept.spell_id}",
        )
        await positions.alarm_spell(self._clerk.connection, spell_id=kept.spell_id, at=now)

    async def _positions(self) -> tuple[PositionRecord, ...]:
        return await positions.open_positions(self._clerk.connection, self._clerk.context.agent_id)


def _was_rejected(submission: Submission) -> bool:
    """Whether the broker itself said no."""
    return isinstance(submission, Placed) and submission.record.status is OrderState.REJECTED
