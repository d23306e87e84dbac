"""Three short stories of an order, each to be ended at any point and taken up again by a fresh process.

The market is written in advance, so that whoever opens the exchange's books finds the same one.
"""

import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from brokers.desk import OrderDesk
from shared.clock import ManualClock
from shared.database.connection import Connection
from tests.brokers.paper_venue import START, PaperVenue
from tests.brokers.replay import MINUTE, MemoryReplay, new_york, stock
from tests.faults.points import Points, WatchedBroker, watched_connection
from tests.faults.truth import Truth, read_truth
from tests.fixtures.broker_orders import AGENT
from tests.fixtures.databases import open_connection
from tests.fixtures.floor import SYMBOL, Floor, draft

Act = Callable[[OrderDesk], Awaitable[object]]

STORE = "paper.sqlite3"
UNTIL_ABSENCE_IS_BELIEVED = timedelta(seconds=11)


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What went before, and what one cycle then decides."""

    name: str
    setup: tuple[Act, ...] = ()
    """Decisions of earlier cycles, one each."""
    act: Act
    first_minute_volume: int = 1000
    """In the minute before the first cycle; a tenth of it fills at once. Nothing trades for a while then."""


async def nothing(desk: OrderDesk) -> None:
    """Decide nothing."""
    del desk


async def buy_ten(desk: OrderDesk) -> None:
    await desk.enter(draft(10), why="volume")


async def buy_forty(desk: OrderDesk) -> None:
    await desk.enter(draft(40), why="volume")


async def sell_all(desk: OrderDesk) -> None:
    await desk.exit(SYMBOL, why="enough")


STORIES = (
    Story(name="an entry that fills", act=buy_ten),
    Story(name="an exit through the target", setup=(buy_ten,), act=sell_all),
    Story(
        name="a cancel of a partly filled entry",
        setup=(buy_forty,),
        act=nothing,  # a cycle begins by cancelling what an earlier one left
        first_minute_volume=100,
    ),
)


def market(volume: int) -> MemoryReplay:
    """ACME at 100: one minute before the start, ten without a trade after it, then an even flow."""
    replay = MemoryReplay(
        instruments={SYMBOL: stock()}, sessions={START.date(): new_york(START.date())}
    )
    replay.trade(SYMBOL, START - MINUTE, prices=[100], volume=volume)
    for minute in range(60):
        traded = volume if minute >= 10 else 0
        replay.trade(SYMBOL, START + minute * MINUTE, prices=[100], volume=traded)
    return replay


@dataclass
class Scene:
    """One story's exchange and database; `opened` is what a process does first with them."""

    story: Story
    folder: Path
    database_url: str
    processes: int = 0
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))

    @asynccontextmanager
    async def opened(self, points: Points | None = None) -> AsyncGenerator["Process"]:
        """Be a process: connection, broker and floor of its own."""
        self.processes += 1
        venue = PaperVenue(
            self.folder / STORE, market(self.story.first_minute_volume), clock=self.clock
        )
        connection = await open_connection(self.database_url)
        try:
            yield Process(self, venue, connection, points or Points())
        finally:
            connection.terminate()
            venue.exchange.close()

    def copied_to(self, folder: Path, database_url: str, *, now: ManualClock) -> "Scene":
        """The same scene over copies of its books and its database."""
        folder.mkdir()
        shutil.copyfile(self.folder / STORE, folder / STORE)
        return Scene(self.story, folder, database_url, self.processes, now)


class Process:
    """One process at work in a scene."""

    def __init__(
        self, scene: Scene, venue: PaperVenue, connection: Connection, points: Points
    ) -> None:
        self._scene: Scene = scene
        self.venue: PaperVenue = venue
        self.connection: Connection = connection
        watched = watched_connection(connection, points)
        self.floor: Floor = Floor(venue, watched, scene.folder, 100 * scene.processes)
        self._broker: WatchedBroker = WatchedBroker(venue.broker, points)

    async def cycle(self, act: Act = nothing) -> None:
        """Play one cycle as trade mode does: level the books, tidy, decide, level and tidy again."""
        desk = await self.floor.desk(broker=self._broker)
        await desk.synchronise()
        await desk.tidy(why="not filled by the next cycle", all_entries=True)
        await act(desk)
        await desk.synchronise()
        await desk.tidy(why="filled in part")

    async def set_up(self) -> None:
        """Play what went before, each decision as a cycle that ended with it."""
        for act in self._scene.story.setup:
            await act(await self.floor.desk())
            self.pass_time(MINUTE)

    async def take_up(self) -> Truth:
        """Play the cycles after the end of another process, and return what they left."""
        for wait in (timedelta(seconds=1), UNTIL_ABSENCE_IS_BELIEVED):
            self.pass_time(wait)
            await self.cycle()
        return await read_truth(self.venue.exchange, self.connection, AGENT)

    def pass_time(self, wait: timedelta) -> None:
        """Move the clock."""
        clock = self._scene.clock
        clock.move_to(clock.now() + wait)
