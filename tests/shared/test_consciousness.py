from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.consciousness import (
    AgentMode,
    AgentState,
    Priority,
    mark_read,
    record_api_spend,
    record_error,
    send_message,
    sleep,
    unread_messages,
    wake_up,
)
from shared.database.connection import Connection
from shared.errors import ConfigError
from shared.models import Mode
from tests.fixtures.broker_orders import AGENT, AT, at

DAY = date(2026, 6, 15)


async def awake(connection: Connection, mode: Mode = Mode.TRADE) -> AgentState:
    return await wake_up(connection, AGENT, mode, Decimal("5.00"), AT)


async def send(connection: Connection, subject: str, **changes: Any) -> int:
    values: dict[str, Any] = {
        "from_agent": "big_bro",
        "to_agent": AGENT,
        "subject": subject,
        "body": "look",
        "at": AT,
    }
    return await send_message(connection, **values | changes)


@pytest.mark.parametrize(
    ("mode", "agent_mode"),
    [
        (Mode.SCAN, AgentMode.RESEARCHING),
        (Mode.TRADE, AgentMode.TRADING),
        (Mode.CLOSE, AgentMode.TRADING),
        (Mode.HEARTBEAT, AgentMode.AWAKE),
    ],
)
async def test_an_agent_wakes_up_for_its_mode(
    mode: Mode, agent_mode: AgentMode, research_connection: Connection
) -> None:
    state = await awake(research_connection, mode)

    assert (state.current_mode, state.last_wake_at) == (agent_mode, AT)
    assert (state.daily_budget, state.api_spend_today) == (Decimal("5.00"), 0)


async def test_an_agent_goes_to_sleep_with_a_last_word(research_connection: Connection) -> None:
    await awake(research_connection)
    asleep = await sleep(research_connection, AGENT, "nothing moved", at(60))
    again = await awake(research_connection)

    assert (asleep.current_mode, asleep.status_message) == (AgentMode.SLEEPING, "nothing moved")
    assert again.status_message == "nothing moved"
    assert again.created_at == asleep.created_at


async def test_errors_are_counted_by_the_day(research_connection: Connection) -> None:
    await awake(research_connection)
    await record_error(research_connection, AGENT, "first", at(0))
    second = await record_error(research_connection, AGENT, "second", at(60))
    next_day = await record_error(research_connection, AGENT, "third", AT + timedelta(days=1))

    assert (second.current_mode, second.error_count_today) == (AgentMode.ERROR, 2)
    assert (second.last_error, second.last_error_at) == ("second", at(60))
    assert next_day.error_count_today == 1


async def test_spending_begins_anew_each_day_and_each_month(
    research_connection: Connection,
) -> None:
    await awake(research_connection)

    async def spend(cost_usd: str, day: date) -> tuple[Decimal, Decimal]:
        state = await record_api_spend(research_connection, AGENT, Decimal(cost_usd), day, AT)
        return state.api_spend_today, state.api_spend_month

    assert await spend("0.10", DAY) == (Decimal("0.10"), Decimal("0.10"))
    assert await spend("0.20", DAY) == (Decimal("0.30"), Decimal("0.30"))
    assert await spend("0.05", date(2026, 6, 30)) == (Decimal("0.05"), Decimal("0.35"))
    assert await spend("0.01", date(2026, 7, 1)) == (Decimal("0.01"), Decimal("0.01"))
    assert await spend("0.01", date(2027, 7, 1)) == (Decimal("0.01"), Decimal("0.01"))


async def test_an_agent_that_never_woke_up_changes_nothing_silently(
    research_connection: Connection,
) -> None:
    with pytest.raises(ConfigError, match="agent 'ghost' has never woken up"):
        await sleep(research_connection, "ghost", "", AT)
    with pytest.raises(ConfigError, match="ghost"):
        await record_error(research_connection, "ghost", "boo", AT)
    with pytest.raises(ConfigError, match="ghost"):
        await record_api_spend(research_connection, "ghost", Decimal(1), DAY, AT)


async def test_letters_come_by_urgency_then_by_age(research_connection: Connection) -> None:
    await send(research_connection, "low", priority=Priority.LOW)
    await send(research_connection, "later", at=at(5))
    await send(research_connection, "sooner", at=at(1))
    await send(research_connection, "urgent", priority=Priority.URGENT, at=at(9))
    await send(research_connection, "high", priority=Priority.HIGH)
    await send(research_connection, "not mine", to_agent="somebody")
    letters = await unread_messages(research_connection, AGENT, at(10))

    assert [letter.subject for letter in letters] == ["urgent", "high", "sooner", "later", "low"]
    assert len(await unread_messages(research_connection, AGENT, at(10), limit=2)) == 2


async def test_an_expired_letter_is_not_read(research_connection: Connection) -> None:
    await send(research_connection, "soon gone", expires_at=at(60))

    assert len(await unread_messages(research_connection, AGENT, at(59))) == 1
    assert await unread_messages(research_connection, AGENT, at(60)) == ()


async def test_a_letter_is_read_once_and_by_its_reader(research_connection: Connection) -> None:
    first = await send(research_connection, "first", data={"symbol": "ACME"})
    second = await send(research_connection, "second", reply_to_id=first)
    await mark_read(research_connection, "somebody", [first, second], at(10))
    unread = await unread_messages(research_connection, AGENT, at(10))
    await mark_read(research_connection, AGENT, [first], at(11))
    left = await unread_messages(research_connection, AGENT, at(12))

    assert [letter.data for letter in unread] == [{"symbol": "ACME"}, None]
    assert [(letter.subject, letter.reply_to_id) for letter in left] == [("second", first)]
