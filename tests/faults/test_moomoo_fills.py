"""Cases of how orders fill at moomoo: in parts, late, seen late, and after a cancel."""

from decimal import Decimal
from typing import Any

from brokers.faults import Fault, FaultKind, Operation
from shared.models import Side
from tests.faults.alpaca_steps import positions, recorded
from tests.faults.cases import case
from tests.faults.moomoo_steps import (
    assert_all_is_right,
    broker_orders,
    done,
    look,
    on_reads_of,
    shown_id,
    times_sent,
)
from tests.fixtures.intl_claude import IntlClaude
from tests.simulators.market import next_minute
from tests.simulators.opend.book import TIMED_OUT
from tests.simulators.opend.wire import Protocol, Wire, WireFault

SYMBOL, QUANTITY = "9999", 400
"""What the stand-in buys here: four lots."""
PRICE = "95.70"
UNSUBMITTED = 0
RISEN = {"0939": ["30"], "3988": ["30"], "3690": ["250"]}
"""What the stand-in would rather buy falls before it looks."""


def entered(agent: IntlClaude, volume: int) -> None:
    """The agent sends its entry after a minute with so many shares traded, of which a tenth is its to have."""
    agent.venue.trade_many(RISEN, volume=100_000)
    agent.venue.trade(PRICE, symbol=SYMBOL, volume=volume)
    agent.watch()
    done(agent.run("trade"))
    assert [(one.symbol, one.quantity) for one in broker_orders(agent, Side.BUY)] == [
        (SYMBOL, QUANTITY)
    ]


def minute(agent: IntlClaude, volume: int) -> None:
    """Up to the next whole minute and then one more, in which so many shares trade; the monitor looks at both."""
    if next_minute(agent.venue.now()) != agent.venue.now():
        look(agent)
    agent.venue.trade(PRICE, symbol=SYMBOL, volume=volume)
    agent.watch()


@case(
    "M17",
    "an order fills in parts",
    injected="100 of 400 shares fill at once, and the others over three minutes",
    orders=2,
    verdict="each part is booked; shares, fees and net profit are the exchange's to the cent",
)
def test_m17_every_part_of_an_order_is_booked(watched_intl: IntlClaude) -> None:
    agent = watched_intl
    entered(agent, 1_000)
    held = [positions(agent)]
    for volume in (0, 1_000, 1_000, 100_000):
        minute(agent, volume)
        held.append(positions(agent))
    charged = agent.rows("SELECT name, sum(amount) AS amount FROM fill_fees GROUP BY name")
    real: dict[str, Decimal] = {}
    for one in agent.venue.fills():
        for fee in one.fees:
            real[fee.name] = real.get(fee.name, Decimal(0)) + fee.amount
    assert_all_is_right(agent, {SYMBOL: QUANTITY})
    done(agent.run("close", "--force"))
    [row] = agent.rows("SELECT realized_pnl, realized_pnl_gross FROM positions")

    assert [one[SYMBOL] for one in held] == [100, 100, 200, 300, 400]
    assert {row["name"]: row["amount"] for row in charged} == real
    assert row["realized_pnl"] == agent.venue.account().cash - 1_000_000
    assert_all_is_right(agent, {})


@case(
    "M18",
    "an order that is shown as timed out",
    injected="an entry that rests is shown as TIMEOUT for two minutes, as UNSUBMITTED for one, and then fills",
    orders=1,
    verdict="works on, is neither refused nor sent again; its fill is booked with its fees",
)
def test_m18_an_order_shown_as_timed_out_is_not_sent_again(watched_intl: IntlClaude) -> None:
    agent = watched_intl
    entered(agent, 0)
    shown = shown_id(agent, SYMBOL)
    states: list[list[str]] = []
    for status in (TIMED_OUT, TIMED_OUT, UNSUBMITTED):
        agent.venue.show_status(shown, status)
        minute(agent, 0)
        agent.run("trade", "--force")
        states.append(recorded(agent, SYMBOL))
    agent.venue.show_status(shown, None)
    minute(agent, 100_000)

    assert states == [["accepted"]] * 3
    assert times_sent(agent) == 1
    assert agent.rows("SELECT name FROM fill_fees") != []
    assert_all_is_right(agent, {SYMBOL: QUANTITY})


@case(
    "M19",
    "what OpenD remembers is old",
    injected="pushes are lost; orders and positions are those of before a fill, and no past order is listed",
    orders=1,
    verdict="what is not seen is not booked, and nothing is sent again; booked once when it is seen",
)
def test_m19_a_fill_that_is_seen_late_is_booked_once(watched_intl: IntlClaude) -> None:
    agent = watched_intl
    agent.venue.tell_of_orders(pushes=False)
    entered(agent, 0)
    minute(agent, 0)
    for protocol in (Protocol.GET_ORDER_LIST, Protocol.GET_POSITION_LIST):
        agent.venue.inject(on_reads_of(protocol, Wire.STALE))
    agent.venue.inject(on_reads_of(Protocol.GET_HISTORY_ORDER_LIST, Wire.EMPTY))
    minute(agent, 100_000)
    agent.run("trade", "--force")
    unseen = (recorded(agent, SYMBOL), positions(agent))
    agent.venue.heal()
    look(agent)

    assert unseen == (["accepted"], {})
    assert times_sent(agent) == 1
    assert_all_is_right(agent, {SYMBOL: QUANTITY})


@case(
    "M20",
    "the answer to a cancel is lost",
    injected="100 of 400 fill; the cancel of the rest at the end of its life is executed, its answer is not",
    orders=1,
    verdict="told; the next pass reads that it is cancelled, and asks no more; what filled is kept and guarded",
)
def test_m20_a_cancel_whose_answer_is_lost_is_found_out(watched_intl: IntlClaude) -> None:
    agent = watched_intl
    entered(agent, 1_000)
    cancel_goes(agent, Wire.DROP, executes=True)
    for _ in range(16):
        minute(agent, 0)

    assert recorded(agent, SYMBOL) == ["canceled"]
    assert any("is not confirmed" in subject for subject in agent.alerts())
    assert len(agent.venue.asked(Protocol.MODIFY_ORDER)) == 1
    assert_all_is_right(agent, {SYMBOL: 100})


@case(
    "M21",
    "a fill in place of a cancel",
    injected="the cancel of an entry at the end of its life never arrives, and the entry fills",
    orders=1,
    verdict="told that the cancel is not confirmed, it is not taken for done; the fill is booked, and guarded",
)
def test_m21_a_fill_after_a_lost_cancel_is_booked(watched_intl: IntlClaude) -> None:
    agent = watched_intl
    entered(agent, 0)
    cancel_goes(agent, Wire.DROP, times=None)
    agent.wait(minutes=16)
    agent.watch()
    before = recorded(agent, SYMBOL)
    minute(agent, 100_000)
    agent.venue.heal()
    look(agent)

    assert before == ["accepted"]
    assert any("is not confirmed" in subject for subject in agent.alerts())
    assert recorded(agent, SYMBOL) == ["filled"]
    assert times_sent(agent) == 1
    assert_all_is_right(agent, {SYMBOL: QUANTITY})


@case(
    "M22",
    "a fill that comes after the cancel",
    injected="the cancel at the end of an entry's life is confirmed, and then the entry fills after all",
    orders=1,
    verdict="booked late from the list, its shares are a position with a stop",
)
def test_m22_a_fill_after_a_confirmed_cancel_is_booked(watched_intl: IntlClaude) -> None:
    agent = watched_intl
    agent.venue.faults.add(
        Fault(operation=Operation.CANCEL, kind=FaultKind.LATE_FILL, quantity=QUANTITY)
    )
    entered(agent, 0)
    agent.wait(minutes=16)
    agent.watch()
    before = recorded(agent, SYMBOL)
    minute(agent, 100_000)

    assert before == ["canceled"]
    assert times_sent(agent) == 1
    assert_all_is_right(agent, {SYMBOL: QUANTITY})


def cancel_goes(agent: IntlClaude, wire: Wire, **changed: Any) -> None:
    """The next cancel gets its answer so."""
    agent.venue.inject(WireFault(wire=wire, protocol=Protocol.MODIFY_ORDER, **changed))
