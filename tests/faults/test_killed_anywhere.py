"""A process that dies anywhere, or is cancelled anywhere, leaves one order, a stop or an alarm, and true books."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from shared.clock import ManualClock
from shared.embedded_postgres import Server
from tests.faults.endings import Steps, kill_self, killed_in_a_child
from tests.faults.points import Points
from tests.faults.stories import STORIES, Scene, Story
from tests.faults.truth import Truth, entries
from tests.fixtures.databases import drop_database, new_database
from tests.fixtures.faults import Say

FEWEST_POINTS = 30
"""Fewer would mean that the instruments see nothing."""
ENTRIES = 1
"""Each story has one decision to buy."""


@pytest.fixture(params=STORIES, ids=lambda story: story.name.replace(" ", "-"))
def story(request: pytest.FixtureRequest) -> Story:
    found: Story = request.param
    return found


class Stage:
    """Gives every run a copy of a scene that was set once."""

    def __init__(self, server: Server, prepared: Scene, template: str) -> None:
        self._server: Server = server
        self._prepared: Scene = prepared
        self._template: str = template

    @asynccontextmanager
    async def scene(self, folder: Path) -> AsyncGenerator[Scene]:
        """Yield a copy of the scene as it was before the cycle in question."""
        async with a_database(self._server, self._template) as name:
            clock = ManualClock(self._prepared.clock.now())
            yield self._prepared.copied_to(folder, self._server.dsn(name), now=clock)


@asynccontextmanager
async def a_database(server: Server, template: str) -> AsyncGenerator[str]:
    """Yield the name of a copy of a database."""
    name = await new_database(server, template=template)
    try:
        yield name
    finally:
        await drop_database(server, name)


@pytest.fixture
async def stage(
    story: Story, postgres_server: Server, trading_template: str, tmp_path: Path
) -> AsyncGenerator[Stage]:
    """The stage of a story, on which what went before has been played."""
    async with a_database(postgres_server, trading_template) as name:
        scene = Scene(story, tmp_path, postgres_server.dsn(name))
        async with scene.opened() as process:
            await process.set_up()
        yield Stage(postgres_server, scene, name)


async def undisturbed(stage: Stage, folder: Path) -> tuple[tuple[str, ...], int, Truth]:
    """Play the story to its end; return its points, its awaits, and what it left."""
    points = Points()
    async with stage.scene(folder) as scene, scene.opened(points) as process:
        steps = Steps(process.cycle(scene.story.act))
        await steps.run()
        names = tuple(points.names)
        return names, steps.taken, await process.take_up()


async def after_the_end(scene: Scene) -> list[str]:
    """Let a fresh process take the story up; say what it could not put right."""
    async with scene.opened() as process:
        return broken(await process.take_up())


def broken(truth: Truth) -> list[str]:
    """Say what a run may not leave behind, the story's own promise included."""
    bought = len(entries(truth.parents))
    twice = [f"{bought} entries were sent for one decision"] if bought > ENTRIES else []
    return twice + truth.violations()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
async def test_killed_at_every_point_nothing_is_doubled_lost_or_left_without_a_stop(
    story: Story, stage: Stage, tmp_path: Path, say: Say
) -> None:
    bad: list[str] = []
    names, _, truth = await undisturbed(stage, tmp_path / "undisturbed")
    for at, name in enumerate(names):
        async with stage.scene(tmp_path / f"killed-{at}") as scene:

            async def play(scene: Scene = scene, at: int = at) -> None:
                async with scene.opened(Points(at=at, act=kill_self)) as process:
                    await process.cycle(scene.story.act)

            assert killed_in_a_child(play), f"the story did not come to {name} (point {at})"
            scene.processes += 1  # the child's count ended with it
            found = await after_the_end(scene)
            bad += [f"killed {name} (point {at}): {what}" for what in found]

    say(f"{story.name}: killed at each of {len(names)} points")
    assert broken(truth) == []
    assert bad == []
    assert len(names) >= FEWEST_POINTS


async def test_cancelled_at_every_other_await_nothing_is_doubled_lost_or_left_without_a_stop(
    story: Story, stage: Stage, tmp_path: Path, say: Say
) -> None:
    bad: list[str] = []
    _, awaits, _ = await undisturbed(stage, tmp_path / "undisturbed")
    chosen = range(1, awaits + 1, 2)
    for at in chosen:
        async with stage.scene(tmp_path / f"cancelled-{at}") as scene:
            async with scene.opened() as process:
                steps = Steps(process.cycle(story.act), cancel_at=at)
                with pytest.raises(asyncio.CancelledError):
                    await asyncio.create_task(steps.run())
            found = await after_the_end(scene)
            bad += [f"cancelled at await {at}: {what}" for what in found]

    say(f"{story.name}: cancelled at {len(chosen)} of {awaits} awaits")
    assert bad == []
