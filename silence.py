"""What it means that the position monitor is silent: who guards then, who is told, and for how long nobody did.

Where stops rest at the broker they go on resting. Where none can rest the monitor is the stop: its silence
leaves what is held unguarded, and is counted as time without a stop.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from brokers.desk import OrderDesk
from lookout import Workplace
from shared import log
from shared.config import Settings
from shared.database import monitor, orders, positions, records
from shared.database.connection import Connection
from shared.database.positions import PositionRecord
from shared.database.records import Severity
from shared.errors import CatalystError
from shared.models import OrderPurpose, SessionHours
from stage import Stage

UNGUARDED_AFTER = timedelta(seconds=60)
"""Passes a quarter of a minute apart that stay away for longer guard nothing, from the last one on."""
_LOOKED_BACK = timedelta(days=1)
"""Positions that closed within it are looked at once more."""

logger = log.get(__name__)


def what_guards(*, has_stops: bool) -> str:
    """Say who guards what is held while the monitor is silent."""
    if has_stops:
        return "Stops that rest go on resting."
    return "No stop rests at this broker: NOBODY GUARDS what is held."


class Silence:
    """The silence of one agent's monitor, as the monitor itself can tell of it."""

    def __init__(self, *, stage: Stage, settings: Settings) -> None:
        """Begin to listen now."""
        self._stage: Stage = stage
        self._agent_id: str = settings.agent.id
        self._allowed_seconds: float = settings.monitor.silence_alarm_seconds
        self._began_at: datetime = stage.clock.now()
        self._has_stops: bool | None = None

    async def tell_of_the_past(self, trading: Connection) -> None:
        """Tell a person that the monitor, which is back, was silent for long while the exchange was open."""
        last = await monitor.last_beat(trading, self._agent_id)
        silent = None if last is None else self._seconds_since(last.beat_at)
        if last is None or silent is None or silent <= self._allowed_seconds:
            return
        rested = await self._stops_rest()
        what = (
            "Stops rested at the broker meanwhile."
            if rested
            else "No stop rests at this broker: NOBODY GUARDED what was held meanwhile."
        )
        await self._tell(
            trading,
            "warning" if rested else "critical",
            f"nobody watched for {silent:.0f} seconds",
            f"The position monitor was silent from {last.beat_at.isoformat()} on, and watches again. {what}",
            key=f"monitor-back-{last.beat_at.isoformat()}",
        )

    async def tell_of_blindness(self, trading: Connection, why: str) -> None:
        """Tell a person, while it lasts, that the monitor is at work and sees nothing.

        Only where no stop rests: elsewhere the next cycle tells of it.
        """
        last = await monitor.last_beat(trading, self._agent_id)
        heard_at = self._began_at if last is None else last.beat_at
        silent = self._seconds_since(heard_at)
        if silent is None or silent <= self._allowed_seconds or await self._stops_rest():
            return
        held = await positions.open_positions(trading, self._agent_id)
        names = ", ".join(record.symbol for record in held) or "nothing"
        await self._tell(
            trading,
            "critical",
            f"the monitor sees nothing for {silent:.0f} seconds, and no stop rests",
            f"The position monitor is at work and cannot look: {why}. {what_guards(has_stops=False)} Held:"
            f" {names}. {self._allowed_seconds:.0f} seconds are allowed.",
            key=f"monitor-blind-{heard_at.isoformat()}",
        )

    def _seconds_since(self, heard_at: datetime) -> float | None:
        """How long of this part of the session nothing was heard; None while nothing trades."""
        now = self._stage.clock.now()
        part = self._stage.session.part_at(now)
        return None if part is None else (now - max(heard_at, part[0])).total_seconds()

    async def _stops_rest(self) -> bool:
        """Whether the broker guards too; one that cannot be opened at all is not counted on."""
        if self._has_stops is None:
            try:
                broker = self._stage.broker()
            except CatalystError as error:
                logger.warning("broker_not_opened", why=str(error))
                return False
            self._has_stops = broker.capabilities.has_stops
            await broker.disconnect()
        return self._has_stops

    async def _tell(
        self, trading: Connection, severity: Severity, subject: str, body: str, *, key: str
    ) -> None:
        await records.queue_alert(
            trading,
            agent_id=self._agent_id,
            cycle_id=None,
            severity=severity,
            subject=subject,
            body=body,
            dedupe_key=key,
            at=self._stage.clock.now(),
        )


async def note_unguarded(
    place: Workplace,
    desk: OrderDesk,
    *,
    is_pass: bool,
    guarded_until: datetime | None = None,
) -> None:
    """Keep the times in which the monitor, which is the stop here, was silent while something was held.

    They count from its last pass on, or from the pass without a database at `guarded_until`. A time is
    kept when it is over: ended by the pass that `is_pass` says is being made, by a sale, or by the end of
    its part of the session, after which nothing trades.
    """
    session = place.session
    if place.broker.capabilities.has_stops or session is None or place.context.dry_run:
        return
    agent_id, now = place.context.agent_id, place.clock.now()
    last = await monitor.last_beat(place.connection, agent_id)
    seen = [at for at in (last and last.passed_at, guarded_until) if at is not None]
    for record in await positions.to_account_for(
        place.connection, agent_id, closed_since=now - _LOOKED_BACK
    ):
        for began_at, ended_at in _unguarded(record, session, max(seen, default=None), now):
            if is_pass or ended_at < now:
                await _keep(place, desk, record, began_at, ended_at)


async def tell_of_sales_that_hang(place: Workplace, desk: OrderDesk) -> None:
    """Tell a person of a sale that does not come to its end: beside it nothing else is sold.

    Only where no stop rests: elsewhere the sale is the target, or a stop rests until it is not.
    """
    allowed, now = place.settings.monitor.silence_alarm_seconds, place.clock.now()
    part = None if place.session is None else place.session.part_at(now)
    if place.broker.capabilities.has_stops or part is None:
        return
    for sale in await orders.open_orders(place.connection, place.context.agent_id):
        working = (now - max(part[0], sale.submitted_at or sale.created_at)).total_seconds()
        if sale.order_purpose is not OrderPurpose.EXIT or working < allowed:
            continue
        await desk.alert(
            f"the sale of {sale.symbol} works for {allowed:.0f} seconds and is not filled",
            f"{sale.quantity - sale.filled_quantity} of {sale.quantity} shares of {sale.symbol} are not sold by"
            f" order {sale.broker_order_id}, which is {sale.status}. Nothing else is sold beside it:"
            " look at it at the broker.",
            key=f"sale-hangs-{sale.order_id}",
        )


def _unguarded(
    record: PositionRecord, session: SessionHours, passed_at: datetime | None, now: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """Yield the times of a session in which a position was held and nobody looked."""
    since = record.opened_at if passed_at is None else max(record.opened_at, passed_at)
    until = min(now, record.closed_at or now)
    for opens, closes in session.parts:
        began_at, ended_at = max(since, opens), min(until, closes)
        if ended_at - began_at > UNGUARDED_AFTER:
            yield began_at, ended_at


async def _keep(
    place: Workplace,
    desk: OrderDesk,
    record: PositionRecord,
    began_at: datetime,
    ended_at: datetime,
) -> None:
    kept = await positions.note_spell(
        place.connection,
        position=record,
        quantity=record.quantity or record.entry_quantity,
        began_at=began_at,
        ended_at=ended_at,
    )
    seconds = (ended_at - began_at).total_seconds()
    if kept.alarmed_at is not None or seconds <= place.settings.monitor.silence_alarm_seconds:
        return
    await desk.alert(
        f"{record.symbol}: nobody guarded it for {seconds:.0f} seconds",
        f"{record.symbol} was held from {began_at.isoformat()} to {ended_at.isoformat()} while the position"
        " monitor, which is its stop, made no pass.",
        key=f"spell-{kept.spell_id}",
    )
    await positions.alarm_spell(place.connection, spell_id=kept.spell_id, at=place.clock.now())
