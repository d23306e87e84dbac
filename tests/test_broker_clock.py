"""How the broker's clock is read: how often, against which moments of ours, and when it does not answer."""

from datetime import timedelta

import pytest

from broker_clock import BrokerClock
from shared.clock import ManualClock, drift_seconds
from shared.errors import BrokerUnavailable
from shared.models import MarketClock
from tests.brokers.replay import MONDAY, at, hong_kong

NOON = at(15)


class Asked:
    """A broker of which only the clock is asked; answering takes `takes_seconds` of our own time."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock: ManualClock = clock
        self.ahead: timedelta = timedelta(0)
        self.takes_seconds: float = 0.0
        self.is_away: bool = False
        self.count: int = 0

    async def market_clock(self) -> MarketClock:
        self.count += 1
        if self.is_away:
            raise BrokerUnavailable("no answer in 5 s")
        said = MarketClock(is_open=True, at=self.clock.now() + self.ahead)
        await self.clock.sleep(self.takes_seconds)
        return said


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(at(3, 30))


@pytest.fixture
def broker(clock: ManualClock) -> Asked:
    return Asked(clock)


@pytest.fixture
def read(broker: Asked, clock: ManualClock) -> BrokerClock:
    return BrokerClock(broker, clock, hong_kong(MONDAY))  # pyright: ignore[reportArgumentType] (the clock is all it asks)


@pytest.mark.parametrize(
    ("there", "drift"),
    [(-3, -3.0), (0, 0.0), (4, 0.0), (10, 0.0), (12.5, 2.5)],
)
def test_what_fits_between_question_and_answer_is_no_drift(there: float, drift: float) -> None:
    said = NOON + timedelta(seconds=there)

    assert drift_seconds(said, asked_at=NOON, answered_at=NOON + timedelta(seconds=10)) == drift


async def test_an_answer_that_takes_long_is_no_drift(read: BrokerClock, broker: Asked) -> None:
    broker.takes_seconds = 8.0

    assert (await read.reading()).drift_seconds == 0.0


@pytest.mark.parametrize("ahead", [5, -5])
async def test_a_clock_that_differs_is_measured(
    read: BrokerClock, broker: Asked, ahead: int
) -> None:
    broker.ahead = timedelta(seconds=ahead)

    assert (await read.reading()).drift_seconds == ahead


async def test_it_is_asked_again_after_half_a_minute_and_not_before(
    read: BrokerClock, broker: Asked, clock: ManualClock
) -> None:
    await read.reading()
    await clock.sleep(30)
    await read.reading()
    before = broker.count
    await clock.sleep(0.5)
    await read.reading()

    assert (before, broker.count) == (1, 2)


async def test_it_is_asked_again_when_a_part_of_the_session_has_ended_or_begun(
    read: BrokerClock, broker: Asked, clock: ManualClock
) -> None:
    clock.move_to(at(3, 59, 50))
    await read.reading()
    clock.move_to(at(4))
    await read.reading()
    clock.move_to(at(4, 59, 50))
    await read.reading()
    clock.move_to(at(5))
    await read.reading()

    assert broker.count == 4


async def test_a_broker_that_does_not_answer_is_unknown_and_not_asked_all_the_time(
    read: BrokerClock, broker: Asked
) -> None:
    broker.is_away = True
    found = [await read.reading() for _ in range(3)]

    assert {(one.is_open, one.drift_seconds) for one in found} == {(None, None)}
    assert broker.count == 1


async def test_after_our_clock_has_jumped_back_it_is_asked_again(broker: Asked) -> None:
    ours = ManualClock(at(3, 30))
    read = BrokerClock(broker, ours, None)  # pyright: ignore[reportArgumentType] (the clock is all it asks)
    await read.reading()
    ours._now = at(3, 20)
    again = await read.reading()

    assert again.drift_seconds == 600
    assert broker.count == 2
