from datetime import timedelta
from decimal import Decimal

import pytest

from shared.database.connection import Connection
from shared.database.records import (
    ScanRow,
    claim_alert,
    count_due_alerts,
    mark_alert_failed,
    mark_alert_sent,
    queue_alert,
    queued_alerts,
    record_decision,
    record_refusal,
    record_scan,
    record_tool_call,
)
from shared.models import Reason
from tests.fixtures.broker_orders import AGENT, AT, CYCLE, at, started


async def alert(connection: Connection, key: str = "naked-ACME", *, days: int = 0) -> int | None:
    return await queue_alert(
        connection,
        agent_id=AGENT,
        cycle_id=None,
        severity="critical",
        subject="no stop",
        body="ACME has no stop",
        dedupe_key=key,
        at=AT + timedelta(days=days),
    )


async def test_a_decision_is_kept_with_its_reasons(trading_connection: Connection) -> None:
    await started(trading_connection)
    decision_id = await record_decision(
        trading_connection,
        agent_id=AGENT,
        cycle_id=CYCLE,
        decision="skip",
        symbol=None,
        reasoning="nothing moved\x00",
        confidence=Decimal("0.7"),
        model="claude",
        at=AT,
    )
    row = await trading_connection.fetchrow("SELECT * FROM decisions")

    assert row is not None
    assert (row["decision_id"], row["reasoning"]) == (decision_id, "nothing moved�")
    assert (row["confidence"], row["symbol"]) == (Decimal("0.7"), None)


async def test_a_refusal_keeps_the_request_and_every_reason(
    trading_connection: Connection,
) -> None:
    await record_refusal(
        trading_connection,
        agent_id=AGENT,
        cycle_id=None,
        tool="execute_trade",
        request={"symbol": "ACME", "limit_price": Decimal("10.10")},
        reasons=(Reason(code="CASH", text="too little"), Reason(code="MODE", text="not now")),
        at=AT,
    )
    row = await trading_connection.fetchrow("SELECT request, codes, texts FROM refusals")

    assert row is not None
    assert row["request"] == {"symbol": "ACME", "limit_price": "10.10"}
    assert (row["codes"], row["texts"]) == (["CASH", "MODE"], ["too little", "not now"])


async def test_a_tool_call_is_kept_with_its_answer(trading_connection: Connection) -> None:
    await started(trading_connection)
    await record_tool_call(
        trading_connection,
        cycle_id=CYCLE,
        sequence=1,
        tool_use_id="toolu_1",
        name="get_quote",
        arguments={"symbol": "ACME"},
        result="{}",
        is_error=False,
        started_at=AT,
        duration_seconds=0.0123,
    )
    row = await trading_connection.fetchrow("SELECT * FROM tool_calls")

    assert row is not None
    assert (row["arguments"], row["result"]) == ({"symbol": "ACME"}, "{}")
    assert row["duration_seconds"] == Decimal("0.012")


def candidate(rank: int, price: str = "10.00") -> ScanRow:
    return ScanRow(
        symbol=f"S{rank}",
        rank=rank,
        price=Decimal(price),
        volume=1000,
        change_pct=None,
        relative_volume=Decimal("1.5"),
        score=Decimal("0.9"),
    )


async def test_a_scan_is_kept_in_its_order(trading_connection: Connection) -> None:
    await started(trading_connection)
    await record_scan(
        trading_connection,
        agent_id=AGENT,
        cycle_id=CYCLE,
        candidates=[candidate(1), candidate(2)],
        at=AT,
    )
    rows = await trading_connection.fetch(
        "SELECT symbol, change_pct FROM scan_results ORDER BY rank"
    )

    assert [tuple(row) for row in rows] == [("S1", None), ("S2", None)]


async def test_a_scan_is_kept_whole_or_not_at_all(trading_connection: Connection) -> None:
    await started(trading_connection)
    with pytest.raises(Exception, match="scan_results_price_positive"):
        await record_scan(
            trading_connection,
            agent_id=AGENT,
            cycle_id=CYCLE,
            candidates=[candidate(1), candidate(2, "0")],
            at=AT,
        )

    assert await trading_connection.fetchval("SELECT count(*) FROM scan_results") == 0


async def test_the_same_alert_is_queued_once_a_day(trading_connection: Connection) -> None:
    first = await alert(trading_connection)
    again = await alert(trading_connection)
    other = await alert(trading_connection, "naked-OTHER")
    next_day = await alert(trading_connection, days=1)

    assert first is not None
    assert again is None
    assert len({first, other, next_day}) == 3


async def test_an_alert_stays_queued_until_it_is_sent(trading_connection: Connection) -> None:
    alert_id = await alert(trading_connection)
    assert alert_id is not None
    claimed = await claim_alert(trading_connection, AGENT, at=AT, leased_until=at(30))
    await mark_alert_failed(
        trading_connection,
        alert_id=alert_id,
        error="connection refused",
        leased_until=at(30),
        next_attempt_at=at(60),
    )
    (queued,) = await queued_alerts(trading_connection, AGENT)
    waiting = [await count_due_alerts(trading_connection, AGENT, at(when)) for when in (59, 60)]
    await mark_alert_sent(
        trading_connection, alert_id=alert_id, accepted_by=("mail",), error=None, at=at(60)
    )

    assert claimed is not None
    assert (queued.alert_id, queued.severity, queued.attempts) == (alert_id, "critical", 1)
    assert (claimed.alert_id, queued.next_attempt_at) == (alert_id, at(60))
    assert waiting == [0, 1]
    assert await queued_alerts(trading_connection, AGENT) == ()
    assert await alert(trading_connection) is None
