"""Sees to it that every share of ours has a stop in force, and records the times in which one had none."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from brokers.base import Broker
from brokers.clerk import Clerk
from brokers.drafts import (
    is_open_entry,
    is_through,
    naked_quantity,
    protection_request,
)
from brokers.exits import Exits, Look, NotOwned
from brokers.exposure import NakedSpell, naked_spells
from brokers.sending import Sending
from brokers.submissions import Submission, why_not_resting
from shared import log
from shared.clock import Clock
from shared.config import OrderSettings
from shared.database import orders, positions
from shared.database.positions import PositionRecord
from shared.errors import ToolError
from shared.models import Order, Snapshot

logger = log.get(__name__)


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
        """Whether a resting entry has to go: its life is over, or it filled in part, which is naked."""
        age = self._clock.now() - entry.submitted_at
        lifetime = timedelta(minutes=self._settings.entry_lifetime_minutes)
        return entry.filled_quantity > 0 or age >= lifetime

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
        if is_through(record.stop_loss, record.symbol, snapshot):
            why = f"the price is through {record.stop_loss}"
            try:
                sold = await self._exits.leave(record.symbol, why=why)
            except ToolError as error:
                return (), [str(error)]
            return sold, list(filter(None, map(why_not_resting, sold)))
        request = protection_request(
            symbol=record.symbol,
            quantity=naked,
            stop_loss=record.stop_loss,
            take_profit=record.take_profit,
        )
        why = "protect what the entry filled"
        made = await self._sending.submit(request, snapshot, why=why)
        return (made,), list(filter(None, [why_not_resting(made)]))

    async def _record_spells(self) -> None:
        """Keep every time in which shares of an open position were naked; one that lasts is an alarm."""
        if self._clerk.context.dry_run:
            return
        held = await self._positions()
        if not held:
            return
        since = min(record.opened_at for record in held) - timedelta(days=1)
        listed = await self._broker.orders(only_open=False, since=since)
        now = self._clock.now()
        for record in held:
            ours = await orders.broker_ids_of_symbol(
                self._clerk.connection, record.agent_id, record.symbol
            )
            for spell in naked_spells([o for o in listed if o.broker_order_id in ours], now):
                if spell.began_at >= record.opened_at:
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
