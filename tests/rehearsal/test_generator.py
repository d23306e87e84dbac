import random
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import combinations, pairwise
from pathlib import Path
from statistics import fmean

import pytest

from market.calendar import Calendar, parse
from market.recording import Recording
from market.sidecars import read_session_notes
from rehearsal.generator import generate
from rehearsal.minutes import news_minute
from rehearsal.prices import EventKind, Market
from rehearsal.universe import Company, universe
from shared.errors import ConfigError
from shared.models import Bar, InstrumentKind, SessionHours

MONDAY, TUESDAY = date(2026, 6, 15), date(2026, 6, 16)
LONG_AGO, FAR = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)

Generator = Callable[[int, date], Recording]


def session_of(calendar: Calendar, day: date) -> SessionHours:
    hours = calendar.session_on(day)
    assert hours is not None
    return hours


@pytest.fixture
def generated(tmp_path: Path, new_york: Calendar) -> Generator:
    def make(seed: int, day: date) -> Recording:
        folder = tmp_path / f"{seed}-{day}"
        generate(folder, seed=seed, hours=session_of(new_york, day))
        return Recording.open(folder, exchange="XNYS", currency="USD", calendar=new_york)

    return make


def bars_of(recording: Recording, company: Company) -> Sequence[Bar]:
    return recording.bars(company.symbol, LONG_AGO, FAR)


def returns(bars: Sequence[Bar]) -> list[float]:
    return [float(after.close / before.close) - 1 for before, after in pairwise(bars)]


def correlation(left: Sequence[float], right: Sequence[float]) -> float:
    a, b = fmean(left), fmean(right)
    both = sum((x - a) * (y - b) for x, y in zip(left, right, strict=True))
    return both / (sum((x - a) ** 2 for x in left) * sum((y - b) ** 2 for y in right)) ** 0.5


def liquid_stocks(seed: int) -> list[Company]:
    return [company for company in universe(seed, 30) if company.is_liquid_stock]


def test_the_same_seed_and_day_give_the_same_bytes(tmp_path: Path, new_york: Calendar) -> None:
    for name in ("one", "two"):
        generate(tmp_path / name, seed=3, hours=session_of(new_york, MONDAY))

    names = sorted(path.name for path in (tmp_path / "one").iterdir())

    assert names == ["bars.csv", "daily.csv", "headlines.csv", "instruments.yaml", "session.yaml"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_another_seed_gives_other_prices_and_another_day_other_minutes(
    tmp_path: Path, new_york: Calendar
) -> None:
    for name, seed, day in (("a", 1, MONDAY), ("b", 2, MONDAY), ("c", 1, TUESDAY)):
        generate(tmp_path / name, seed=seed, hours=session_of(new_york, day), symbols=5)

    texts = {(tmp_path / name / "bars.csv").read_text(encoding="utf-8") for name in "abc"}

    assert len(texts) == 3


def test_it_says_that_it_is_generated(generated_folder: Path) -> None:
    notes = read_session_notes(generated_folder / "session.yaml")

    assert notes.generated
    assert notes.seed == 7
    assert notes.label == "generated session of 2026-06-15, seed 7: invented companies and prices"


def test_thirty_symbols_are_one_index_two_funds_and_stocks(generated_recording: Recording) -> None:
    instruments = [generated_recording.instrument(s) for s in generated_recording.symbols()]
    kinds = [known.kind for known in instruments if known is not None]

    assert (len(kinds), kinds.count(InstrumentKind.INDEX), kinds.count(InstrumentKind.ETF)) == (
        30,
        1,
        2,
    )
    assert [known.symbol for known in instruments if known and not known.tradable] == ["QXIDX"]
    assert all(known is not None and "invented" in known.name for known in instruments)


@pytest.mark.parametrize("symbols", [5, 30, 200])
def test_every_symbol_is_invented_once(symbols: int) -> None:
    companies = universe(7, symbols)

    assert len({company.symbol for company in companies}) == symbols
    assert all(company.symbol.startswith("Q") for company in companies)


@pytest.mark.parametrize("symbols", [4, 201])
def test_too_few_or_too_many_symbols_are_refused(symbols: int) -> None:
    with pytest.raises(ValueError, match=f"was {symbols}"):
        universe(7, symbols)


def test_a_liquid_symbol_has_a_bar_for_every_minute_but_those_of_its_halt(
    generated_recording: Recording, generated_folder: Path
) -> None:
    (halt,) = read_session_notes(generated_folder / "session.yaml").halts
    stopped = (halt.end - halt.start) // timedelta(minutes=1)

    assert 10 <= stopped <= 30
    assert generated_recording.bars(halt.symbol, halt.start, halt.end) == ()
    for company in universe(7, 30):
        count = len(bars_of(generated_recording, company))
        if company.trade_chance == 1:
            assert count == (390 - stopped if company.symbol == halt.symbol else 390)
        else:
            assert 80 < count < 300


def test_a_half_day_has_210_minutes_and_a_halt_within_them(generated: Generator) -> None:
    recording = generated(7, date(2026, 11, 27))

    index = recording.bars("QXIDX", LONG_AGO, FAR)

    assert len(index) == 210
    assert index[-1].end == datetime(2026, 11, 27, 18, 0, tzinfo=UTC)


def test_a_lunch_break_is_left_free(tmp_path: Path) -> None:
    hong_kong = parse(
        '{"exchange": "XHKG", "timezone": "Asia/Hong_Kong", "first_date": "2026-11-02", '
        '"last_date": "2026-12-31", "regular": [["09:30", "12:00"], ["13:00", "16:00"]], '
        '"sessions_per_year": {"2026": 43}, "closed_weekdays": ["2026-12-25"], "other_hours": {}}',
        "test",
    )
    hours = session_of(hong_kong, date(2026, 12, 22))

    generate(tmp_path / "hk", seed=7, hours=hours, symbols=6, calendar=hong_kong, currency="HKD")

    recording = Recording.open(tmp_path / "hk", exchange="XHKG", currency="HKD", calendar=hong_kong)
    assert recording.left_out == 0
    assert len(recording.bars("QXIDX", LONG_AGO, FAR)) == 330


def test_one_session_closes_where_the_next_one_takes_its_previous_close(
    generated: Generator,
) -> None:
    monday, tuesday = generated(7, MONDAY), generated(7, TUESDAY)

    for company in universe(7, 30):
        last = bars_of(monday, company)[-1].close
        assert tuesday.previous_close(company.symbol, TUESDAY) == last


def test_opening_gaps_are_there_and_bounded(generated: Generator) -> None:
    recording = generated(7, MONDAY)
    gaps: list[Decimal] = []
    for company in universe(7, 30):
        previous = recording.previous_close(company.symbol, MONDAY)
        assert previous is not None
        gaps.append(abs(bars_of(recording, company)[0].open / previous - 1))

    assert max(gaps) > Decimal("0.015")
    assert max(gaps) < Decimal("0.15")


def test_there_are_twenty_days_of_baseline(generated_recording: Recording) -> None:
    for company in universe(7, 30):
        baseline = generated_recording.baseline(company.symbol, MONDAY)
        assert baseline.previous_change_pct is not None
        assert baseline.average_daily_volume is not None
        assert (baseline.average_daily_volume == 0) == (company.kind is InstrumentKind.INDEX)


def test_the_days_volume_is_close_to_the_average(generated: Generator) -> None:
    recording = generated(7, MONDAY)
    ratios: list[float] = []
    for company in liquid_stocks(7):
        average = recording.average_daily_volume(company.symbol, MONDAY)
        assert average
        ratios.append(sum(bar.volume for bar in bars_of(recording, company)) / average)

    assert 0.5 < sorted(ratios)[len(ratios) // 2] < 2


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_volume_and_volatility_are_high_at_both_ends_of_the_day(
    generated: Generator, seed: int
) -> None:
    recording = generated(seed, MONDAY)
    volume = [0.0] * 390
    moves = [0.0] * 390
    for company in liquid_stocks(seed):
        bars = bars_of(recording, company)
        total = sum(bar.volume for bar in bars)
        for bar in bars:
            minute = (bar.start - datetime(2026, 6, 15, 13, 30, tzinfo=UTC)) // timedelta(minutes=1)
            volume[minute] += bar.volume / total
            moves[minute] += abs(float(bar.close / bar.open) - 1)

    for measure, factor in ((volume, 2.0), (moves, 1.15)):
        assert fmean(measure[:30]) > factor * fmean(measure[150:240])
        assert fmean(measure[-30:]) > factor * fmean(measure[150:240])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_volatility_clusters_well_beyond_chance(generated: Generator, seed: int) -> None:
    """The middle of the day only, where the U-shape is flat and cannot be mistaken for clusters."""
    recording = generated(seed, MONDAY)
    shuffler = random.Random(seed)  # noqa: S311
    real: list[float] = []
    chance: list[float] = []
    for company in liquid_stocks(seed):
        moves = [abs(move) for move in returns(bars_of(recording, company))][90:300]
        real.append(correlation(moves[:-1], moves[1:]))
        shuffler.shuffle(moves)
        chance.append(correlation(moves[:-1], moves[1:]))

    assert fmean(real) > fmean(chance) + 0.05
    assert fmean(real) > 0.06


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_stocks_of_a_sector_move_together_more_than_others_do(
    generated: Generator, seed: int
) -> None:
    recording = generated(seed, MONDAY)
    stocks = [c for c in liquid_stocks(seed) if len(bars_of(recording, c)) == 390]
    moves = {company.symbol: returns(bars_of(recording, company)) for company in stocks}
    within: list[float] = []
    across: list[float] = []
    for left, right in combinations(stocks, 2):
        pairs = within if left.sector == right.sector else across
        pairs.append(correlation(moves[left.symbol], moves[right.symbol]))

    assert fmean(within) > fmean(across) + 0.1
    assert fmean(across) > 0.1


def test_some_news_moves_the_price_and_some_does_not(generated: Generator) -> None:
    """Measured against the market fund, over twenty minutes from the minute after the news."""
    with_effect: list[float] = []
    without: list[float] = []
    for seed in range(1, 7):
        recording = generated(seed, MONDAY)
        companies = universe(seed, 30)
        events = Market(seed, companies).events(MONDAY)
        told = {companies[e.company].symbol: e for e in events if e.kind is EventKind.NEWS}
        busy = {companies[e.company].symbol for e in events}
        opens = datetime(2026, 6, 15, 13, 30, tzinfo=UTC)
        for headline in recording.headlines(None, opens, opens + timedelta(minutes=360)):
            for symbol in headline.symbols:
                move = _move(recording, symbol, headline.at)
                if move is None:
                    continue
                event = told.get(symbol)
                if event and headline.at < opens + timedelta(minutes=news_minute(event, 390) + 1):
                    with_effect.append(move if event.effect > 0 else -move)
                elif symbol not in busy:
                    without.append(abs(move))

    assert len(with_effect) >= 10
    assert len(without) >= 10
    assert fmean(with_effect) > 0.012
    assert fmean(without) < 0.006


def _move(recording: Recording, symbol: str, at: datetime) -> float | None:
    start = at.replace(second=0) + timedelta(minutes=1)
    end = start + timedelta(minutes=20)
    own, market = recording.bars(symbol, start, end), recording.bars("QXMKT", start, end)
    if len(own) < 20:
        return None
    return float(own[-1].close / own[0].open) - float(market[-1].close / market[0].open)


def test_a_folder_that_exists_is_left_alone(tmp_path: Path, new_york: Calendar) -> None:
    with pytest.raises(FileExistsError, match="exists already"):
        generate(tmp_path, seed=1, hours=session_of(new_york, MONDAY), symbols=5)

    assert list(tmp_path.iterdir()) == []
    assert not list(tmp_path.parent.glob(f".{tmp_path.name}-*"))


def test_an_exchange_without_a_calendar_table_is_refused(
    tmp_path: Path, new_york: Calendar
) -> None:
    hours = session_of(new_york, MONDAY)
    elsewhere = SessionHours(exchange="XLON", session_date=MONDAY, parts=hours.parts)

    with pytest.raises(ConfigError, match="XLON"):
        generate(tmp_path / "x", seed=1, hours=elsewhere)


def test_the_path_reaches_its_close_without_a_jump_in_the_last_minute(generated: Generator) -> None:
    recording = generated(7, MONDAY)

    last = [abs(returns(bars_of(recording, company))[-1]) for company in liquid_stocks(7)]

    assert max(last) < 0.006


def test_prices_wander_from_session_to_session(new_york: Calendar) -> None:
    market = Market(7, universe(7, 30))
    days = [hours.session_date for hours in new_york.previous_sessions(MONDAY, 60)]
    closes = [[market.close(number, day) for day in days] for number in range(30)]

    def typical_change(sessions: int) -> float:
        return fmean(
            abs(after / before - 1)
            for path in closes
            for before, after in zip(path, path[sessions:], strict=False)
        )

    assert typical_change(10) > 2 * typical_change(1)
