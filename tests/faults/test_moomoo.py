"""Cases of an entry at moomoo: whole runs of intl_claude over the real client, while OpenD's answers to it go wrong."""

from time import monotonic

from shared.models import OrderStatus, Side
from tests.faults.alpaca_steps import recorded, states_gone_through
from tests.faults.cases import case
from tests.faults.moomoo_steps import (
    assert_all_is_right,
    broker_orders,
    done,
    fall_below_the_stop,
    look,
    on_the_next_order,
    times_sent,
)
from tests.fixtures.intl_claude import IntlClaude
from tests.simulators.opend.api import TIMED_OUT
from tests.simulators.opend.wire import Wire, WireFault

SYMBOL = "3690"
ONE = {SYMBOL: 100}
SENT_ONCE = [None, "submitting", "unknown"]
"""What the stand-in buys in the first trade slot."""


def lost_and_found(agent: IntlClaude, fault: WireFault) -> None:
    """An order is executed and its answer is lost: the same run finds it, and the monitor is its stop."""
    agent.venue.inject(fault)
    done(agent.run("trade"))
    states = states_gone_through(agent, SYMBOL)

    assert states[:3] == SENT_ONCE
    assert states[-1] == "filled"
    assert times_sent(agent) == len(broker_orders(agent, Side.BUY)) == 1
    assert_all_is_right(agent, ONE)
    is_sold_once(agent)


def is_sold_once(agent: IntlClaude) -> None:
    """A price below the stop is sold by the monitor's next pass, and by no later one."""
    look(agent)
    fall_below_the_stop(agent, SYMBOL)
    assert agent.watch().said["left"] == [SYMBOL]
    look(agent)

    assert [one.status for one in broker_orders(agent, Side.SELL)] == [OrderStatus.FILLED]
    assert times_sent(agent, Side.SELL) == 1
    assert_all_is_right(agent, {})


@case(
    "M01",
    "the connection ends after the order was taken",
    injected="the entry is executed, and its connection ends instead of an answer",
    orders=2,
    verdict="UNKNOWN, found by its remark in the same run, sent once; sold once by the monitor at its stop",
)
def test_m01_a_connection_that_ends_in_place_of_an_answer_is_one_order(
    watched_intl: IntlClaude,
) -> None:
    lost_and_found(watched_intl, on_the_next_order(Wire.DROP, executes=True))


@case(
    "M02",
    "OpenD dies after the order was taken",
    injected="the entry is executed, and OpenD is gone; it listens again three minutes later",
    orders=2,
    naked_seconds=180,
    verdict="UNKNOWN and alerted, nothing more is sent; found by its remark when OpenD is back, and guarded",
)
def test_m02_an_opend_that_dies_with_the_answer_has_one_order(watched_intl: IntlClaude) -> None:
    agent = watched_intl
    agent.venue.inject(on_the_next_order(Wire.DIE, executes=True))
    trade = agent.run("trade")
    before = recorded(agent, SYMBOL)
    agent.wait(minutes=1)
    seen = agent.watch()
    agent.wait(minutes=2)
    agent.venue.listen(listens=True)
    found = agent.watch()

    assert trade.exit_code == 1
    assert before == ["unknown"]
    assert "OpenD does not answer" in seen.said["reason"]
    assert found.said["alerts"] == ["3690: nobody guarded it for 240 seconds"]
    assert states_gone_through(agent, SYMBOL)[-1] == "filled"
    assert times_sent(agent) == 1
    assert any("the outcome of order cat-" in subject for subject in agent.alerts())
    assert_all_is_right(agent, ONE)
    is_sold_once(agent)


@case(
    "M03",
    "OpenD is silent after the order was taken",
    injected="the entry is executed, and no answer ever comes on a connection that stays",
    orders=2,
    verdict="UNKNOWN at the deadline of 8 seconds, found by its remark over a new connection, sent once",
)
def test_m03_a_silent_opend_is_waited_for_until_the_deadline(watched_intl: IntlClaude) -> None:
    began = monotonic()
    lost_and_found(watched_intl, on_the_next_order(Wire.SILENCE, executes=True))

    assert monotonic() - began < 60


@case(
    "M04",
    "half an answer",
    injected="the entry is executed, and its connection is reset in the middle of the answer",
    orders=2,
    verdict="UNKNOWN, found by its remark in the same run, sent once",
)
def test_m04_half_an_answer_is_no_answer(watched_intl: IntlClaude) -> None:
    lost_and_found(watched_intl, on_the_next_order(Wire.CUT))


@case(
    "M05",
    "OpenD itself was not answered in time",
    injected="the entry is executed, and OpenD answers retType -100, timed out",
    orders=2,
    verdict="no refusal: UNKNOWN, found by its remark in the same run, sent once",
)
def test_m05_a_time_out_that_opend_reports_is_no_refusal(watched_intl: IntlClaude) -> None:
    fault = on_the_next_order(
        Wire.REFUSE, executes=True, ret_type=TIMED_OUT, reason="NN_ProtoRet_TimeOut"
    )
    lost_and_found(watched_intl, fault)


@case(
    "M06",
    "no answer, and no order",
    injected="the entry never arrives, and OpenD is silent",
    orders=1,
    verdict="UNKNOWN; NOT_PLACED only by two full reads, of later runs; then an entry is possible again",
)
def test_m06_an_order_is_absent_only_by_two_full_reads(watched_intl: IntlClaude) -> None:
    agent = watched_intl
    agent.venue.inject(on_the_next_order(Wire.SILENCE))
    agent.run("trade")
    agent.wait(minutes=1)
    refused = agent.run("trade", "--force")
    once = recorded(agent, SYMBOL)
    agent.wait(minutes=1)
    agent.watch()
    twice = recorded(agent, SYMBOL)
    again = done(agent.run("trade", "--force"))
    look(agent)

    assert (once, twice) == (["unknown"], ["not_placed"])
    assert "UNRESOLVED_ORDER" in refused.said["refusals"]
    assert again.said["fills"] == 1
    assert times_sent(agent) == 2
    assert_all_is_right(agent, agent.held())


@case(
    "M07",
    "too many requests",
    injected="OpenD refuses the entry: this request is too frequent, please try again later",
    orders=0,
    verdict="OpenD's own word that it was not taken: NOT_PLACED, and not sent again",
)
def test_m07_a_refusal_for_frequency_is_not_sent_again(watched_intl: IntlClaude) -> None:
    agent = watched_intl
    words = "This request is too frequent, please try again later."
    agent.venue.inject(on_the_next_order(Wire.REFUSE, reason=words))
    done(agent.run("trade"))
    look(agent)

    assert recorded(agent, SYMBOL) == ["not_placed"]
    assert times_sent(agent) == 1
    assert_all_is_right(agent, {})


@case(
    "M23",
    "OpenD dies between intent and order",
    injected="OpenD is gone when the entry is sent, which never arrives; it listens again two minutes later",
    orders=0,
    verdict="UNKNOWN and alerted; NOT_PLACED only by two full reads of later runs",
)
def test_m23_an_opend_that_is_restarted_before_the_order_has_none(
    watched_intl: IntlClaude,
) -> None:
    agent = watched_intl
    agent.venue.inject(on_the_next_order(Wire.DIE))
    trade = agent.run("trade")
    agent.wait(minutes=2)
    agent.venue.listen(listens=True)
    states = [recorded(agent, SYMBOL)]
    for _ in range(2):
        agent.run("heartbeat", "--force")
        states.append(recorded(agent, SYMBOL))
        agent.wait(minutes=1)

    assert trade.exit_code == 1
    assert states == [["unknown"], ["unknown"], ["not_placed"]]
    assert times_sent(agent) == 1
    assert_all_is_right(agent, {})


@case(
    "M24",
    "a login that is lost before the order",
    injected="OpenD refuses the entry: it is not logged in",
    orders=0,
    verdict="OpenD's own word that it was not taken: NOT_PLACED, and not sent again",
)
def test_m24_a_refusal_without_a_login_is_no_order(watched_intl: IntlClaude) -> None:
    agent = watched_intl
    agent.venue.inject(on_the_next_order(Wire.REFUSE, reason="OpenD is not logged in"))
    agent.run("trade")
    look(agent)

    assert recorded(agent, SYMBOL) == ["not_placed"]
    assert times_sent(agent) == 1
    assert_all_is_right(agent, {})
