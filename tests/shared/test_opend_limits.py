"""The share of OpenD's limits that one process has."""

from hypothesis import given
from hypothesis import strategies as st

from shared.opend_limits import LIMITS, WINDOW_SECONDS, OpenDShare
from tests.simulators.opend.limits import LIMITS as AT_OPEND


def test_the_limits_are_those_of_the_simulated_opend() -> None:
    assert {int(protocol): most for protocol, most in AT_OPEND.items()} == {
        protocol: limit.most for protocol, limit in LIMITS.items()
    }


def test_shares_stay_below_the_whole_and_are_never_nothing() -> None:
    shares = [OpenDShare(pct) for pct in (55, 30, 15)]

    assert [share.most(2201) for share in shares] == [5, 3, 1]
    assert OpenDShare(1).most(2202) == 1
    assert OpenDShare(100).most(1002) is None


def test_a_request_waits_until_the_oldest_of_a_full_half_minute_is_past() -> None:
    share = OpenDShare(30)
    for now in (0.0, 1.0, 2.0):
        assert share.seconds_to_wait(2102, now) == 0
        share.note(2102, now)

    assert share.seconds_to_wait(2102, 10.0) == WINDOW_SECONDS + 0.5 - 10
    assert share.seconds_to_wait(2101, 10.0) == 0
    assert share.seconds_to_wait(2102, 30.5) == 0


def test_orders_keep_a_distance_from_each_other() -> None:
    share = OpenDShare(100)
    share.note(2205, 5.0)

    assert 0.039 < share.seconds_to_wait(2205, 5.0) < 0.041


@given(
    st.integers(min_value=1, max_value=100),
    st.lists(st.floats(min_value=0, max_value=20), max_size=80),
)
def test_no_half_minute_ever_has_more_than_the_share(pct: int, pauses: list[float]) -> None:
    share, now, sent = OpenDShare(pct), 0.0, list[float]()
    for pause in pauses:
        now += pause
        now += share.seconds_to_wait(2201, now)
        share.note(2201, now)
        sent.append(now)

    most = share.most(2201)
    assert most is not None
    assert all(sum(1 for other in sent if at - WINDOW_SECONDS < other <= at) <= most for at in sent)
