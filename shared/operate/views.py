"""Answers what a person asks about an agent, from its database; changes nothing."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import Any

from pydantic import SecretStr

from shared import trading_state
from shared.database import claude_calls, history, monitor, orders, positions, records
from shared.database.connection import Connection
from shared.database.monitor import Beat
from shared.database.orders import OrderRecord, PositionRecord
from shared.errors import BrokerUnavailable, Busy
from shared.models import Mode, OrderType, Side
from shared.operate.arguments import Arguments
from shared.operate.place import Place
from shared.operate.report import Report
from shared.outcome import Status

ALERTS_SHOWN = 20


async def status(place: Place, arguments: Arguments) -> Report:
    """What the agent may do, holds, earned, may still spend, and did last."""
    async with AsyncExitStack() as stack:
        trading, now = await place.trading(stack), place.clock.now()
        agent_id, since = place.agent_id, place.session_began_at()
        found = await trading_state.current(trading, agent_id, place.home, now)
        held = await positions.open_positions(trading, agent_id)
        unresolved = await orders.unresolved_orders(trading, agent_id)
        alerts = await records.queued_alerts(trading, agent_id, limit=ALERTS_SHOWN)
        content = {
            "at": now,
            "currency": place.settings.market.currency,
            "state": found.state,
            "state_reasons": found.reasons,
            "account": await history.latest_equity(trading, agent_id),
            "live": await _live(place) if arguments.live else None,
            "positions": await _positions(trading, agent_id, held),
            "today": {
                "since": since,
                "realized_pnl": await positions.realized_pnl(trading, agent_id, since),
                "entries": await orders.entries_since(trading, agent_id, since),
            },
            "budget": await _budget(place, trading),
            "unresolved_orders": [_brief(order) for order in unresolved],
            "queued_alerts": [asdict(alert) for alert in alerts],
            "operator_actions": await history.latest_actions(trading, agent_id),
            "cycles": await history.latest_cycles(trading, agent_id),
        }
    return _answer(place, arguments, _summary(content), content)


async def list_orders(place: Place, arguments: Arguments) -> Report:
    """Orders with their history: those not over and those of the session, or all."""
    since = None if arguments.everything else place.session_began_at()
    async with AsyncExitStack() as stack:
        trading = await place.trading(stack)
        found = await history.orders(trading, place.agent_id, since)
    which = "" if arguments.everything else " that are open or of the session; --all shows all"
    content = {"at": place.clock.now(), "orders": found}
    return _answer(place, arguments, f"{len(found)} orders{which}", content)


async def why(place: Place, arguments: Arguments) -> Report:
    """What one cycle saw, decided and did."""
    async with AsyncExitStack() as stack:
        trading = await place.trading(stack)
        found = await history.cycle(trading, place.agent_id, arguments.cycle_id)
        latest = await history.latest_cycles(trading, place.agent_id)
    if found is not None:
        cycle = found["cycle"]
        ending = cycle["reason"] or "it has not ended, or its process died"
        return _answer(place, arguments, f"{cycle['status']}: {ending}", found)
    known = ", ".join(row["cycle_id"] for row in latest) or "none yet"
    return Report(
        agent=place.agent_id,
        command=arguments.command,
        status=Status.USAGE,
        reason=f"there is no cycle {arguments.cycle_id!r}; the latest are: {known}",
    )


def show_config(place: Place, arguments: Arguments) -> Report:
    """Every setting in force, defaults included; of secrets only whether they are set."""
    configuration = place.configuration
    content = {
        "source": str(configuration.source),
        "config_hash": configuration.config_hash,
        "data_directory": str(place.home),
        "settings": configuration.settings.model_dump(),
        "secrets": {name: _hidden(value) for name, value in configuration.secrets},
    }
    return _answer(place, arguments, f"as {configuration.source} and the environment say", content)


def _answer(place: Place, arguments: Arguments, reason: str, content: dict[str, Any]) -> Report:
    return Report(
        agent=place.agent_id,
        command=arguments.command,
        status=Status.DONE,
        reason=reason,
        content=content,
    )


def _summary(content: dict[str, Any]) -> str:
    """Say in a line what a person has to know first."""
    said = [f"trading is {content['state']}", f"{len(content['positions'])} positions"]
    naked = [held["symbol"] for held in content["positions"] if held["shares_without_stop"]]
    if naked:
        said.append(f"WITHOUT A STOP: {', '.join(naked)}")
    if content["unresolved_orders"]:
        said.append(f"{len(content['unresolved_orders'])} UNRESOLVED ORDERS")
    if content["queued_alerts"]:
        waiting = len(content["queued_alerts"])
        at_least = "at least " if waiting == ALERTS_SHOWN else ""
        said.append(f"{at_least}{waiting} alerts not sent yet")
    return ", ".join(said)


async def _positions(
    trading: Connection, agent_id: str, held: Sequence[PositionRecord]
) -> list[dict[str, object]]:
    resting = await orders.open_orders(trading, agent_id)
    plain = await positions.opened_without_legs(trading, agent_id)
    beat = await monitor.last_beat(trading, agent_id)
    return [
        _position(record, resting, beat, is_plain=record.position_id in plain) for record in held
    ]


def _position(
    record: PositionRecord, resting: Sequence[OrderRecord], beat: Beat | None, *, is_plain: bool
) -> dict[str, object]:
    """Describe a holding by our fills, with the stops that rest for it as far as is known.

    One that was opened where no stop can rest is guarded by the monitor, as long as that has its level.
    """
    sales = [one for one in resting if (one.symbol, one.side) == (record.symbol, Side.SELL)]
    stops = [one for one in sales if one.order_type is OrderType.STOP]
    covered = sum(stop.quantity - stop.filled_quantity for stop in stops)
    return {
        "symbol": record.symbol,
        "quantity": record.quantity,
        "entry_price": record.entry_price,
        "opened_at": record.opened_at,
        "stop_loss": record.stop_loss,
        "take_profit": record.take_profit,
        "resting_stops": [stop.stop_price for stop in stops],
        "shares_without_stop": 0
        if is_plain and record.stop_loss is not None
        else max(0, record.quantity - covered),
        "guarded_by": _guard(beat) if is_plain else "the broker",
        "entry_reason": record.entry_reason,
    }


def _guard(beat: Beat | None) -> str:
    """Say when the monitor, which is the stop, looked last."""
    if beat is None or beat.passed_at is None:
        return "NOBODY: the monitor has never made a pass"
    return f"the monitor, last pass {beat.passed_at:%Y-%m-%d %H:%M:%S} UTC"


def _brief(order: OrderRecord) -> dict[str, object]:
    return {
        "client_order_id": order.client_order_id,
        "symbol": order.symbol,
        "side": order.side,
        "quantity": order.quantity,
        "status": order.status,
        "created_at": order.created_at,
    }


async def _budget(place: Place, trading: Connection) -> dict[str, object]:
    calendar = place.calendar()
    day = calendar.exchange_date(place.clock.now())
    budget_usd = place.settings.claude.daily_budget_usd
    left = await claude_calls.budget_left(
        trading, agent_id=place.agent_id, budget_date=day, budget_usd=budget_usd
    )
    return {"day": day, "budget_usd": budget_usd, "left_usd": left}


async def _live(place: Place) -> dict[str, object]:
    """Ask the broker itself; a broker that cannot be asked is an answer too."""
    try:
        broker = place.stage(Mode.HEARTBEAT).broker()
    except Busy as error:
        return {"error": str(error)}
    try:
        account, held = await broker.account(), await broker.positions()
    except BrokerUnavailable as error:
        return {"error": str(error)}
    finally:
        await broker.disconnect()
    return {"account": asdict(account), "positions": [asdict(one) for one in held]}


def _hidden(value: object) -> object:
    if isinstance(value, SecretStr):
        return "set, hidden"
    return "not set" if value is None else value
