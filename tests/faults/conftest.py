"""The two stages on which cases are played: a floor for single orders, a theatre for whole cycles."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.database.connection import Connection
from tests.brokers.paper_venue import PaperVenue
from tests.fixtures.floor import Floor
from tests.fixtures.theatre import Tape, Theatre


@pytest.fixture
async def floor(tmp_path: Path, trading_connection: Connection) -> AsyncIterator[Floor]:
    venue = PaperVenue(tmp_path / "paper.sqlite3")
    yield Floor(venue, trading_connection, tmp_path)
    await venue.broker.disconnect()


@pytest.fixture
def theatre(
    tmp_path: Path, trading_connection: Connection, research_connection: Connection
) -> Theatre:
    """A day on which AAPL stays at 100."""
    data = Tape(tmp_path / "tape").write()
    return Theatre(tmp_path / "rehearsal", data, trading_connection, research_connection)
