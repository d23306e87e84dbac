"""A rehearsal's course: which slot is next, which session follows, and where it ends."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from market.calendar import Calendar
from rehearsal import bookmark
from rehearsal.stage import (
    NotDue,
    Stage,
    begin,
    describe,
    keep_time,
    sessions_to_play,
    set_stage,
)
from shared.config import RehearsalSettings, Settings
from shared.config_brokers import BrokerName
from shared.errors import CalendarExhausted, CatalystError, ConfigError
from shared.models import Mode
from tests.fixtures.claude import PAPER

NEW_YORK = ZoneInfo("America/New_York")
MONDAY, TUESDAY, FRIDAY = date(2026, 6, 15), date(2026, 6, 16), date(2026, 6, 12)
HALF_DAY = date(2026, 11, 27)

REHEARSAL = PAPER.model_copy(update={"rehearsal": RehearsalSettings(symbols=5)})


def recording(folder: Path, *days: date) -> Path:
    """Three minutes of one symbol at the opening of each day."""
    lines = ["symbol,timestamp,open,high,low,close,volume"]
    for day in days:
        opens = datetime(day.year, day.month, day.day, 9, 30, tzinfo=NEW_YORK)
        for minute in range(3):
            at = (opens + timedelta(minutes=minute)).astimezone(UTC)
            lines.append(f"AAPL,{at.isoformat()},100,101,99,100,5000")
    path = folder / "bars.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


Played = Callable[[Mode], Stage | NotDue]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "rehearsal"


@pytest.fixture
def play(folder: Path, new_york: Calendar) -> Played:
    return lambda mode: set_stage(REHEARSAL, folder, new_york, mode, force=False)


def local_times(stages: Sequence[Stage | NotDue]) -> list[str]:
    return [
        f"{stage.clock.now().astimezone(NEW_YORK):%H:%M}"
        for stage in stages
        if isinstance(stage, Stage)
    ]


def at_close_of(folder: Path, day: date) -> None:
    """Put the bookmark behind the last slot of a day."""
    mark = bookmark.read(folder)
    assert mark is not None
    bookmark.write(folder, mark.at(day, datetime(day.year, day.month, day.day, 23, 0, tzinfo=UTC)))


def exchanges(folder: Path) -> set[str]:
    return {path.name.split(".")[0] for path in folder.glob("exchange-*")}


def test_the_first_run_of_all_begins_a_rehearsal_by_itself(folder: Path, play: Played) -> None:
    stage = play(Mode.SCAN)
    mark = bookmark.read(folder)

    assert isinstance(stage, Stage)
    assert mark is not None
    assert (mark.number, mark.session_date) == (1, MONDAY)
    assert local_times([stage]) == ["09:00"]
    assert stage.slot is not None
    assert stage.slot.at == stage.clock.now() == mark.clock


def test_each_run_moves_to_the_next_slot_of_its_mode_and_never_back(play: Played) -> None:
    stages = [play(mode) for mode in (Mode.SCAN, Mode.TRADE, Mode.TRADE, Mode.CLOSE)]
    late = play(Mode.TRADE)

    assert local_times(stages) == ["09:00", "10:00", "10:30", "15:50"]
    assert isinstance(late, NotDue)
    assert late.why == (
        "no trade slot is left in the session of 2026-06-15; the next slot is heartbeat at 16:30"
    )


def test_a_run_that_is_not_due_does_not_move_the_rehearsal(folder: Path, play: Played) -> None:
    play(Mode.TRADE)
    before = bookmark.read(folder)
    play(Mode.SCAN)

    assert bookmark.read(folder) == before


def test_a_forced_run_stays_where_the_clock_stands(
    folder: Path, play: Played, new_york: Calendar
) -> None:
    play(Mode.TRADE)
    before = bookmark.read(folder)
    forced = set_stage(REHEARSAL, folder, new_york, Mode.CLOSE, force=True)

    assert isinstance(forced, Stage)
    assert forced.slot is None
    assert local_times([forced]) == ["10:00"]
    assert bookmark.read(folder) == before


async def test_a_run_that_waited_leaves_the_rehearsal_where_its_clock_came_to(
    folder: Path, play: Played, new_york: Calendar
) -> None:
    stage = play(Mode.CLOSE)
    assert isinstance(stage, Stage)
    await stage.clock.sleep(90)
    keep_time(stage)
    forced = set_stage(REHEARSAL, folder, new_york, Mode.CLOSE, force=True)

    assert isinstance(forced, Stage)
    assert forced.clock.now() == stage.clock.now()
    assert local_times([play(Mode.HEARTBEAT)]) == ["16:30"]


async def test_a_dry_run_that_waited_leaves_its_slot_to_be_played(
    folder: Path, new_york: Calendar, play: Played
) -> None:
    dry = set_stage(REHEARSAL, folder, new_york, Mode.TRADE, force=False, dry_run=True)
    assert isinstance(dry, Stage)
    await dry.clock.sleep(10)
    keep_time(dry)

    assert local_times([play(Mode.TRADE)]) == ["10:00"]


def test_after_the_last_slot_the_next_session_begins_past_the_weekend(
    folder: Path, play: Played, new_york: Calendar
) -> None:
    begin(REHEARSAL, folder, new_york)
    at_close_of(folder, FRIDAY)
    stage = play(Mode.TRADE)

    assert isinstance(stage, Stage)
    assert stage.session.session_date == MONDAY
    assert local_times([stage]) == ["10:00"]


def test_an_early_close_moves_its_slots_with_it(
    folder: Path, play: Played, new_york: Calendar
) -> None:
    begin(REHEARSAL, folder, new_york)
    at_close_of(folder, date(2026, 11, 25))  # Thursday is Thanksgiving
    trades = [play(Mode.TRADE) for _ in range(6)]
    no_more = play(Mode.TRADE)
    rest = [play(Mode.CLOSE), play(Mode.HEARTBEAT)]

    assert {stage.session.session_date for stage in trades if isinstance(stage, Stage)} == {
        HALF_DAY
    }
    assert local_times(trades) == ["10:00", "10:30", "11:00", "11:30", "12:00", "12:30"]
    assert isinstance(no_more, NotDue)
    assert local_times(rest) == ["12:50", "13:30"]


def test_recorded_data_ends_with_a_sentence(
    tmp_path: Path, folder: Path, play: Played, new_york: Calendar
) -> None:
    begin(REHEARSAL, folder, new_york, data=recording(tmp_path, FRIDAY, TUESDAY))
    at_close_of(folder, FRIDAY)
    following = play(Mode.HEARTBEAT)
    end = play(Mode.SCAN)

    assert isinstance(following, Stage)
    assert following.session.session_date == TUESDAY
    assert end == NotDue(why="the rehearsal ended with the session of 2026-06-16")


def test_a_single_session_is_followed_by_no_other(
    tmp_path: Path, folder: Path, play: Played, new_york: Calendar
) -> None:
    data = recording(tmp_path, FRIDAY, MONDAY)
    mark = begin(REHEARSAL, folder, new_york, data=data, session=FRIDAY)
    play(Mode.HEARTBEAT)

    assert sessions_to_play(REHEARSAL, new_york, mark) == (FRIDAY,)
    assert play(Mode.SCAN) == NotDue(why="the rehearsal ended with the session of 2026-06-12")


def test_all_sessions_of_a_recording_are_played_and_one_generated_day(
    tmp_path: Path, folder: Path, new_york: Calendar
) -> None:
    data = recording(tmp_path, FRIDAY, MONDAY, TUESDAY)
    recorded = begin(REHEARSAL, folder, new_york, data=data)
    generated = begin(REHEARSAL, folder, new_york)

    assert sessions_to_play(REHEARSAL, new_york, recorded) == (FRIDAY, MONDAY, TUESDAY)
    assert sessions_to_play(REHEARSAL, new_york, generated) == (MONDAY,)


@pytest.mark.parametrize(
    ("session", "words"),
    [
        (TUESDAY, "has no bars of 2026-06-16"),
        (date(2026, 6, 14), "there is no session on 2026-06-14; choose another day"),
    ],
)
def test_a_session_that_cannot_be_played_is_a_configuration_error(
    tmp_path: Path, folder: Path, new_york: Calendar, session: date, words: str
) -> None:
    data = recording(tmp_path, FRIDAY, MONDAY)
    with pytest.raises(ConfigError, match=words):
        begin(REHEARSAL, folder, new_york, data=data, session=session)

    assert bookmark.read(folder) is None


def test_a_day_beyond_the_calendar_is_said(folder: Path, new_york: Calendar) -> None:
    with pytest.raises(CalendarExhausted, match="says nothing about 2099-01-02"):
        begin(REHEARSAL, folder, new_york, session=date(2099, 1, 2))


def test_each_rehearsal_gets_a_number_and_an_account_of_its_own(
    folder: Path, play: Played, new_york: Calendar
) -> None:
    first = play(Mode.SCAN)
    second_mark = begin(REHEARSAL, folder, new_york)
    second = play(Mode.SCAN)

    assert isinstance(first, Stage)
    assert isinstance(second, Stage)
    assert second_mark.number == first.bookmark.number + 1
    assert second.bookmark.database_name != first.bookmark.database_name


async def test_the_exchanges_of_old_rehearsals_are_forgotten(
    folder: Path, play: Played, new_york: Calendar
) -> None:
    for _ in range(3):
        begin(REHEARSAL, folder, new_york)
        stage = play(Mode.SCAN)
        assert isinstance(stage, Stage)
        await stage.broker().disconnect()
    begin(REHEARSAL, folder, new_york)

    assert exchanges(folder) == {"exchange-3"}


def test_a_damaged_bookmark_stops_a_run_and_a_new_rehearsal_steps_over_it(
    folder: Path, play: Played, new_york: Calendar
) -> None:
    play(Mode.SCAN)
    (folder / bookmark.FILE_NAME).write_text("{")
    (folder / "exchange-1.sqlite").touch()
    with pytest.raises(ConfigError, match="`make run` begins a new rehearsal"):
        play(Mode.TRADE)

    assert begin(REHEARSAL, folder, new_york).number == 2


def test_an_agent_without_a_rehearsal_section_has_nothing_to_rehearse(
    folder: Path, new_york: Calendar
) -> None:
    settings: Settings = PAPER

    assert settings.broker.name is BrokerName.PAPER
    with pytest.raises(ConfigError, match="agent rehearsal has no rehearsal section"):
        begin(settings, folder, new_york)


def test_a_first_session_that_is_none_is_an_error_of_ours(folder: Path, new_york: Calendar) -> None:
    rehearsal = RehearsalSettings(symbols=5, first_session="2026-06-14")
    settings = PAPER.model_copy(update={"rehearsal": rehearsal})

    with pytest.raises(CatalystError, match="2026-06-14"):
        begin(settings, folder, new_york)


def test_a_description_says_what_is_modelled_and_what_was_left_out(
    tmp_path: Path, folder: Path, new_york: Calendar
) -> None:
    path = recording(tmp_path, FRIDAY)
    path.write_text(path.read_text() + "AAPL,2026-06-12T21:00:00+00:00,100,101,99,100,5\n")
    mark = begin(REHEARSAL, folder, new_york, data=path)

    assert describe(REHEARSAL, folder, new_york, mark) == (
        "Market data: recorded bars of 2026-06-12; bid and ask are modelled from the bars;"
        " 1 bars outside trading hours are left out."
    )


def test_a_generated_session_is_made_once_and_is_the_same_each_time(
    folder: Path, play: Played
) -> None:
    first = play(Mode.SCAN)
    made = {path: path.stat().st_mtime_ns for path in folder.glob("sessions/*/*")}
    second = play(Mode.TRADE)

    assert isinstance(first, Stage)
    assert isinstance(second, Stage)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("sessions/*/*")} == made
    assert first.recording.symbols() == second.recording.symbols()
