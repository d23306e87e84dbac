"""Cases of an entry at Alpaca: whole runs of dev_claude over HTTP, while the answers to it go wrong."""

from time import monotonic

from brokers.faults import Fault, FaultKind, Operation
from tests.faults.alpaca_steps import (
    BOUGHT,
    assert_all_is_right,
    error_page,
    on_the_first_order,
    recorded,
    states_gone_through,
    times_sent,
)
from tests.faults.cases import case
from tests.fixtures.dev_claude import DevClaude
from tests.simulators.alpaca.refusals import error
from tests.simulators.alpaca.wire import Wire, WireFault

ONE = {"NKE": 13}
SENT_ONCE = [None, "submitting", "unknown"]


@case(
    "A01",
    "504 after the order was taken",
    injected="the entry is taken, a load balancer answers 504, and nobody answers from then on",
    orders=1,
    verdict="UNKNOWN and alerted, never sent again; found by its id by the next run, position and stop right",
)
def test_a01_a_504_after_the_order_was_taken_is_one_order(watched_agent: DevClaude) -> None:
    agent = watched_agent
    agent.venue.inject(
        on_the_first_order(Wire.ANSWER, executes=True, begins_outage=True, **error_page(504))
    )
    trade = agent.run("trade")
    before = recorded(agent)
    agent.venue.heal()
    found = agent.run("heartbeat", "--force")

    assert trade.exit_code == 1
    assert before == ["unknown"]
    assert found.exit_code == 0
    assert states_gone_through(agent)[:3] == SENT_ONCE
    assert states_gone_through(agent)[-1] == "filled"
    assert times_sent(agent) == 1
    assert any("the outcome of order cat-" in subject for subject in agent.alerts())
    assert_all_is_right(agent, ONE)


@case(
    "A02",
    "the connection ends after the order was taken",
    injected="the entry is taken, and its connection is reset instead of an answer",
    orders=1,
    verdict="UNKNOWN, nothing more is bought; found by its id at the end of the same run",
)
def test_a02_a_connection_that_ends_in_place_of_an_answer_is_one_order(
    watched_agent: DevClaude,
) -> None:
    agent = watched_agent
    agent.venue.inject(on_the_first_order(Wire.RESET, executes=True))
    trade = agent.run("trade")

    assert trade.exit_code == 0
    assert "UNRESOLVED_ORDER" in trade.said["refusals"]
    assert states_gone_through(agent)[:3] == SENT_ONCE
    assert states_gone_through(agent)[-1] == "filled"
    assert times_sent(agent) == 1
    assert_all_is_right(agent, ONE)


@case(
    "A03",
    "no answer, and no order",
    injected="the entry never arrives, and the connection stays silent",
    orders=0,
    verdict="UNKNOWN at the deadline; proven absent by two reads of later runs, and not sent again by itself",
)
def test_a03_a_silent_broker_is_waited_for_until_the_deadline(watched_agent: DevClaude) -> None:
    agent = watched_agent
    agent.venue.inject(on_the_first_order(Wire.SILENCE))
    began = monotonic()
    agent.run("trade")
    took = monotonic() - began
    states = [recorded(agent)]
    for _ in range(2):
        agent.run("heartbeat", "--force")
        states.append(recorded(agent))
        agent.wait(minutes=1)

    assert took < 30
    assert states == [["unknown"], ["unknown"], ["not_placed"]]
    assert times_sent(agent) == 1
    assert_all_is_right(agent, {})


@case(
    "A04",
    "the id is taken",
    injected="422 client_order_id must be unique, and the order is there",
    orders=2,
    verdict="looked up by its id, compared and adopted; the run goes on",
)
def test_a04_an_id_that_is_taken_is_looked_up_and_adopted(watched_agent: DevClaude) -> None:
    agent = watched_agent
    body = error(422, 40010001, "client_order_id must be unique").content.decode()
    agent.venue.inject(on_the_first_order(Wire.ANSWER, executes=True, status=422, body=body))
    trade = agent.run("trade")

    assert (trade.exit_code, trade.said["alerts"]) == (0, [])
    assert times_sent(agent) == 2
    assert_all_is_right(agent, BOUGHT)


@case(
    "A12",
    "an entry that fills in part",
    injected="5 of 13 shares fill, while its legs are held until all have",
    orders=3,
    verdict="the rest is cancelled at the end of the same run, and 5 get a stop and a target of their own",
)
def test_a12_what_filled_of_an_entry_is_protected(watched_agent: DevClaude) -> None:
    agent = watched_agent
    partly_filled(agent, 5)
    trade = agent.run("trade")

    assert trade.exit_code == 0
    assert recorded(agent) == ["canceled", "accepted"]
    assert_all_is_right(agent, {"NKE": 5, "DIS": 13})


@case(
    "A09",
    "a cancel that sticks",
    injected="5 of 13 fill; the cancel of the rest gets 504 first, and then stays in pending_cancel",
    orders=3,
    naked_seconds=240,
    verdict="nothing is laid down beside it, told; asked again pass by pass, then the 5 are protected",
)
def test_a09_nothing_is_laid_down_beside_a_cancel_that_sticks(watched_agent: DevClaude) -> None:
    agent, venue = watched_agent, watched_agent.venue
    partly_filled(agent, 5)
    page = error_page(504)
    venue.inject(WireFault(wire=Wire.ANSWER, method="DELETE", **page))
    trade = agent.run("trade")
    venue.faults.add(Fault(operation=Operation.CANCEL, kind=FaultKind.STUCK_CANCEL))
    agent.wait(minutes=1)
    agent.watch()
    stuck, sent = recorded(agent), times_sent(agent)
    agent.wait(minutes=1)
    agent.watch()

    assert "NKE: 5 shares are not protected" in trade.said["alerts"]
    assert (stuck, sent) == (["cancel_pending"], 2)
    assert len(venue.requests_of("DELETE")) == times_sent(agent) == 3
    assert_all_is_right(agent, {"NKE": 5, "DIS": 13})


@case(
    "A17",
    "a slow drip",
    injected="the answer to an entry comes byte by byte, a minute long",
    orders=1,
    verdict="given up at the call's bound of 10 seconds: UNKNOWN, and found by its id",
)
def test_a17_an_answer_that_drips_ends_at_the_bound(watched_agent: DevClaude) -> None:
    agent = watched_agent
    agent.venue.inject(on_the_first_order(Wire.SLOW_BODY, seconds=0.05))
    began = monotonic()
    trade = agent.run("trade")
    took = monotonic() - began

    assert trade.exit_code == 0
    assert took < 30
    assert states_gone_through(agent)[:3] == SENT_ONCE
    assert states_gone_through(agent)[-1] == "filled"
    assert times_sent(agent) == 1
    assert_all_is_right(agent, ONE)


def partly_filled(agent: DevClaude, quantity: int) -> None:
    """Let the next entry fill so far and no further."""
    fault = Fault(operation=Operation.PLACE, kind=FaultKind.PARTIAL_FILLS, quantity=quantity)
    agent.venue.faults.add(fault)
