"""What the startup monitor says beside its verdict: clock, hours and market data at the simulated OpenD."""

from tests.fixtures.intl_claude import IntlClaude
from tests.simulators.opend.wire import Protocol, Wire, WireFault


def test_a_machine_on_which_everything_is_ready_says_nothing_more(intl_claude: IntlClaude) -> None:
    run = intl_claude.compare()

    assert run.exit_code == 0
    assert run.said["notes"] == []
    assert run.said["reason"] == "broker and database agree: 0 positions"


def test_hours_that_differ_are_named(intl_claude: IntlClaude) -> None:
    intl_claude.venue.inject(
        WireFault(
            wire=Wire.CHANGE,
            protocol=Protocol.REQUEST_TRADE_DATE,
            fields={"tradeDateType": 1},
            times=None,
        )
    )
    run = intl_claude.compare()

    assert (run.exit_code, run.said["verdict"]) == (0, "clean")
    assert "; not ready: by its calendar XHKG trades the whole of 2026-12-21" in run.said["reason"]


def test_market_data_that_cannot_be_read_are_named(intl_claude: IntlClaude) -> None:
    intl_claude.venue.inject(
        WireFault(wire=Wire.REFUSE, protocol=Protocol.STOCK_FILTER, reason="no right", times=None)
    )
    run = intl_claude.compare()

    [lacking] = run.said["notes"]
    assert run.said["verdict"] == "clean"
    assert lacking.startswith("market data: the most traded stocks cannot be read")


def test_a_clock_that_is_off_is_named(intl_claude: IntlClaude) -> None:
    intl_claude.venue.inject(
        WireFault(
            wire=Wire.CHANGE,
            protocol=Protocol.GET_GLOBAL_STATE,
            fields={"time": int(intl_claude.venue.now().timestamp()) - 30},
            times=None,
        )
    )
    run = intl_claude.compare()

    assert "this machine's clock and the broker's differ by -30.0 seconds" in run.said["reason"]
