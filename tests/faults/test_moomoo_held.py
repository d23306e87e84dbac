"""Cases of what intl_claude holds at moomoo: whole runs over the real client, while reads, sales and fills go wrong."""

from shared.models import OrderStatus, Side
from tests.faults.alpaca_steps import positions, recorded
from tests.faults.cases import case
from tests.faults.moomoo_steps import (
    assert_all_is_right,
    broker_orders,
    done,
    fall_below_the_stop,
    hong_kong,
    locked,
    look,
    on_reads_of,
    on_the_next_order,
    shown_id,
    times_sent,
)
from tests.fixtures.intl_claude import IntlClaude
from tests.simulators.opend.accounts import PAPER, SIMULATE
from tests.simulators.opend.book import FILL_CANCELLED
from tests.simulators.opend.wire import Protocol, Wire

SYMBOL, PRICE = "3690", "281.4"
ONE = {SYMBOL: 100}


def sold_once(agent: IntlClaude) -> None:
    """The agent sent one sale, which filled, and nothing is left."""
    assert [one.status for one in broker_orders(agent, Side.SELL)] == [OrderStatus.FILLED]
    assert times_sent(agent, Side.SELL) == 1
    assert_all_is_right(agent, {})


@case(
    "M08",
    "OpenD dies while something is held",
    injected="OpenD is gone for four minutes, in which the price falls below the stop",
    orders=2,
    naked_seconds=180,
    verdict="an alarm after 150 seconds: NOBODY GUARDS; sold once by the first pass when OpenD is back",
)
def test_m08_a_price_below_the_stop_is_sold_when_opend_is_back(holding_intl: IntlClaude) -> None:
    agent = holding_intl
    look(agent)
    agent.venue.listen(listens=False)
    fall_below_the_stop(agent, SYMBOL)
    blind = [agent.watch()]
    for _ in range(2):
        agent.wait(minutes=1)
        blind.append(agent.watch())
    told = agent.alerts()
    agent.venue.listen(listens=True)
    agent.wait(minutes=1)
    agent.watch()
    look(agent)

    assert all("OpenD does not answer" in one.said["reason"] for one in blind)
    assert any("sees nothing" in subject for subject in told), told
    sold_once(agent)


@case(
    "M09",
    "the answer to a sale is lost",
    injected="the monitor's sale at the stop is executed, and its connection ends instead of an answer",
    orders=2,
    verdict="UNKNOWN and alerted; found by its remark, one sale in all",
)
def test_m09_a_sale_whose_answer_is_lost_is_one_sale(holding_intl: IntlClaude) -> None:
    agent = holding_intl
    look(agent)
    fall_below_the_stop(agent, SYMBOL)
    agent.venue.inject(on_the_next_order(Wire.DROP, executes=True))
    agent.watch()
    for _ in range(2):
        look(agent)

    assert any("the outcome of order cat-" in subject for subject in agent.alerts())
    sold_once(agent)


@case(
    "M10",
    "OpenD dies with a sale",
    injected="the sale at the stop never arrives: OpenD is gone with it, for a minute",
    orders=2,
    naked_seconds=60,
    verdict="UNKNOWN; sent anew only when two full reads have proven it absent, one sale in all",
)
def test_m10_a_sale_that_never_arrived_is_sent_again_only_when_that_is_proven(
    holding_intl: IntlClaude,
) -> None:
    agent = holding_intl
    look(agent)
    fall_below_the_stop(agent, SYMBOL)
    agent.venue.inject(on_the_next_order(Wire.DIE))
    agent.watch()
    lost = recorded(agent, SYMBOL)
    fall_below_the_stop(agent, SYMBOL)
    agent.watch()
    agent.venue.listen(listens=True)
    states: list[list[str]] = []
    while agent.held() and len(states) < 4:
        fall_below_the_stop(agent, SYMBOL)
        agent.watch()
        states.append(recorded(agent, SYMBOL)[1:])

    assert lost == ["filled", "unknown"]
    assert states == [["unknown"], ["not_placed", "filled"]]
    assert times_sent(agent, Side.SELL) == 2
    assert_all_is_right(agent, {})


@case(
    "M11",
    "a fill that is taken back",
    injected="an order that has filled is shown as FILL_CANCELLED, and its shares are gone",
    orders=1,
    verdict="told as a contradiction, no fill is invented; locked when the books are compared, nothing is sold",
)
def test_m11_a_fill_that_is_taken_back_is_told_and_locked(holding_intl: IntlClaude) -> None:
    agent = holding_intl
    fills = agent.rows("SELECT * FROM fills")
    agent.venue.show_status(shown_id(agent, SYMBOL), FILL_CANCELLED)
    take_shares_away(agent)
    seen = look(agent)
    compared = agent.compare()
    fall_below_the_stop(agent, SYMBOL)
    agent.watch()
    trade = agent.run("trade", "--force")

    assert any("contradicts what is known" in subject for subject in seen.said["alerts"])
    assert (compared.said["verdict"], locked(agent)) == ("locked", [SYMBOL])
    assert agent.rows("SELECT * FROM fills") == fills
    assert trade.said["orders"] == 0
    assert times_sent(agent, Side.SELL) == 0


@case(
    "M12",
    "an empty list of positions",
    injected="positions are answered as an empty list while one is held",
    orders=2,
    verdict="not believed: unreadable, nothing is bought or closed; the stop holds when they are listed again",
)
def test_m12_an_empty_list_of_positions_is_never_flat(holding_intl: IntlClaude) -> None:
    agent = holding_intl
    agent.venue.inject(on_reads_of(Protocol.GET_POSITION_LIST, Wire.EMPTY))
    compared = agent.compare()
    look(agent)
    trade = agent.run("trade", "--force")
    before = positions(agent)
    agent.venue.heal()
    look(agent)
    fall_below_the_stop(agent, SYMBOL)
    agent.watch()

    assert compared.said["verdict"] == "unreadable"
    assert trade.said["orders"] == 0
    assert "nothing is bought: the broker cannot be relied on" in agent.alerts()
    assert before == ONE
    sold_once(agent)


@case(
    "M13",
    "a person trades in the app",
    injected="somebody sells what the agent holds, and buys a stock that it does not",
    orders=1,
    verdict="both locked when the books are compared; nothing is bought, and neither is sold",
)
def test_m13_what_a_person_trades_is_locked_and_left_alone(holding_intl: IntlClaude) -> None:
    agent = holding_intl
    take_shares_away(agent)
    agent.venue.trade_by_somebody_else(Side.BUY, 500, "100", symbol="0700")
    look(agent)
    compared = agent.compare()
    fall_below_the_stop(agent, SYMBOL)
    agent.watch()
    agent.venue.trade("80", symbol="0700", volume=100_000)
    agent.watch()
    agent.run("trade", "--force")
    agent.run("close", "--force")

    assert compared.said["verdict"] == "locked"
    assert locked(agent) == ["0700", SYMBOL]
    assert agent.held() == {"0700": 500}
    assert len(agent.venue.asked(Protocol.PLACE_ORDER)) == 1


@case(
    "M14",
    "rows of no shares, and accounts of others",
    injected="what was sold stays listed with 0 shares; the login has a real account and two more on paper",
    orders=2,
    verdict="flat and clean; only the one paper account for stocks is ever asked for, or ordered in",
)
def test_m14_rows_of_no_shares_and_other_accounts_are_nothing(holding_intl: IntlClaude) -> None:
    agent = holding_intl
    look(agent)
    agent.venue.trade(PRICE, symbol=SYMBOL, volume=100_000)
    close = done(agent.run("close", "--force"))
    compared = agent.compare()
    headers = [one["c2s"]["header"] for one in agent.venue.requests() if "header" in one["c2s"]]

    assert close.said["positions"] == 0
    assert (compared.said["verdict"], compared.said["deltas"]) == ("clean", [])
    assert {one["accID"] for one in headers} == {str(PAPER.account_id)}
    assert {one["trdEnv"] for one in headers} == {SIMULATE}
    sold_once(agent)


@case(
    "M15",
    "a login that is lost in the middle",
    injected="OpenD loses its login for two minutes while a position is held, and the price falls",
    orders=2,
    naked_seconds=60,
    verdict="one sentence says what to do, nothing is sent; sold once by the first pass after it",
)
def test_m15_a_login_that_is_lost_stops_and_goes_on(holding_intl: IntlClaude) -> None:
    agent = holding_intl
    look(agent)
    agent.venue.log_in(logged_in=False)
    agent.venue.trade(PRICE, symbol=SYMBOL)
    seen, trade = agent.watch(), agent.run("trade", "--force")
    agent.venue.log_in(logged_in=True)
    fall_below_the_stop(agent, SYMBOL)
    agent.watch()

    assert "not logged in" in seen.said["reason"]
    assert (trade.exit_code, trade.said["status"]) == (1, "failed")
    assert "not logged in" in trade.said["reason"]
    sold_once(agent)


@case(
    "M16",
    "holidays",
    injected="every program is started on Christmas, and after noon of the half day before it",
    orders=0,
    verdict="nothing is due and nothing is sent, not even where a person forces it",
)
def test_m16_nothing_is_sent_while_the_exchange_is_closed(watched_intl: IntlClaude) -> None:
    agent = watched_intl
    for closed in (hong_kong(13, 30, (2026, 12, 24)), hong_kong(10, 0, (2026, 12, 25))):
        agent.venue.move_to(closed)
        runs = [agent.run(mode) for mode in ("scan", "trade", "close")]
        agent.watch()
        forced = [agent.run(mode, "--force") for mode in ("trade", "close")]
        agent.compare()

        assert {run.said["status"] for run in runs} == {"nothing_to_do"}
        assert {run.said["orders"] for run in forced} == {0}
    assert agent.venue.orders() == ()
    assert agent.venue.asked(Protocol.PLACE_ORDER) == []


def take_shares_away(agent: IntlClaude) -> None:
    """Let the agent's shares be gone from the account, by an order that is not its own."""
    agent.venue.trade_by_somebody_else(Side.SELL, 100, PRICE, symbol=SYMBOL)
