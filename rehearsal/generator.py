"""Writes one generated session as a recording: same seed and date, same bytes. It asks no vendor for data."""

import csv
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from io import StringIO
from itertools import pairwise
from pathlib import Path

import yaml

from market import calendar as calendars
from market.calendar import Calendar
from market.recording_files import BAR_COLUMNS, HEADLINE_COLUMNS, MINUTE
from rehearsal.minutes import HaltPlan, MinuteBar, plan_halt, play
from rehearsal.news import Story, stories
from rehearsal.prices import Market
from rehearsal.universe import Company, universe
from shared.models import InstrumentKind, SessionHours, utc

EARLIER_SESSIONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    """All that one folder is written from."""

    seed: int
    day: date
    exchange: str
    currency: str
    market: Market
    starts: tuple[datetime, ...]
    earlier: tuple[SessionHours, ...]
    """Sessions before, oldest first; the first is there for its close only."""
    midnight: Callable[[date], datetime]
    halt: HaltPlan | None

    @property
    def previous(self) -> date:
        return self.earlier[-1].session_date


def generate(
    folder: Path,
    *,
    seed: int,
    hours: SessionHours,
    symbols: int = 30,
    calendar: Calendar | None = None,
    currency: str = "USD",
) -> None:
    """Write the session of `hours` into `folder`, which must not exist yet: whole, or not at all.

    Writes bars.csv (one-minute bars), daily.csv (the 20 sessions before, for baselines), headlines.csv,
    instruments.yaml and session.yaml, as market.recording reads them. Sessions of one seed and number of
    symbols fit together: the previous close in one folder is the last close in the folder of the day
    before; highs, lows and volumes of daily.csv are drawn anew and do not add up from minutes. `calendar`
    says which sessions came before and defaults to the committed table of the exchange. Raises
    ConfigError without such a table, CalendarExhausted when it begins too late, FileExistsError.
    """
    calendar = calendar or calendars.load(hours.exchange)
    session = _session(seed, hours, symbols, calendar, currency)
    files = {
        "bars.csv": _bars(session),
        "daily.csv": _daily(session),
        "headlines.csv": _headlines(session),
        "instruments.yaml": _yaml(_instruments(session)),
        "session.yaml": _yaml(_notes(session)),
    }
    _write(folder, files)


def _session(
    seed: int, hours: SessionHours, symbols: int, calendar: Calendar, currency: str
) -> _Session:
    market = Market(seed, universe(seed, symbols))
    starts = _minute_starts(hours)
    return _Session(
        seed=seed,
        day=hours.session_date,
        exchange=hours.exchange,
        currency=currency,
        market=market,
        starts=starts,
        earlier=calendar.previous_sessions(hours.session_date, EARLIER_SESSIONS + 1),
        midnight=lambda day: utc(datetime.combine(day, time(), calendar.timezone)),
        halt=plan_halt(market, hours.session_date, len(starts)),
    )


def _minute_starts(hours: SessionHours) -> tuple[datetime, ...]:
    return tuple(
        opens + timedelta(minutes=minute)
        for opens, closes in hours.parts
        for minute in range((closes - opens) // MINUTE)
    )


def _bars(session: _Session) -> str:
    stamps = [_stamp(start) for start in session.starts]
    played = play(session.market, session.day, session.previous, len(stamps), session.halt)
    pairs = zip(session.market.companies, played, strict=True)
    return _csv(
        BAR_COLUMNS,
        (
            _row(company.symbol, stamps[bar.minute], bar)
            for company, bars in sorted(pairs, key=lambda pair: pair[0].symbol)
            for bar in bars
        ),
    )


def _daily(session: _Session) -> str:
    numbered = sorted(enumerate(session.market.companies), key=lambda pair: pair[1].symbol)
    return _csv(
        BAR_COLUMNS,
        (
            _row(company.symbol, _stamp(session.midnight(hours.session_date)), bar)
            for number, company in numbered
            for before, hours in pairwise(session.earlier)
            for bar in [_day_bar(session.market, number, hours, before.session_date)]
        ),
    )


def _day_bar(market: Market, number: int, hours: SessionHours, previous: date) -> MinuteBar:
    plan = market.plan(number, hours.session_date, previous, len(_minute_starts(hours)))
    draw = market.random(hours.session_date, f"range:{number}")
    reach = market.companies[number].own_volatility / 2
    return MinuteBar(
        minute=0,
        open=plan.open,
        high=round(max(plan.open, plan.close) * (1 + abs(draw.gauss(0, reach)))),
        low=round(min(plan.open, plan.close) * (1 - abs(draw.gauss(0, reach)))),
        close=plan.close,
        volume=plan.volume,
    )


def _headlines(session: _Session) -> str:
    found = stories(session.market, session.day, session.starts, session.halt)
    return _csv(
        HEADLINE_COLUMNS,
        (_headline(f"{session.day}-{number:03d}", story) for number, story in enumerate(found, 1)),
    )


def _headline(headline_id: str, story: Story) -> tuple[str, ...]:
    tone = "" if story.sentiment_tenths is None else str(story.sentiment_tenths / 10)
    return (
        headline_id,
        _stamp(story.at),
        story.source,
        " ".join(story.symbols),
        tone,
        story.text,
    )


def _instruments(session: _Session) -> dict[str, object]:
    return {
        "exchange": session.exchange,
        "currency": session.currency,
        "lot_size": 1,
        "ticks": [
            {"from_price": "0", "tick": "0.0001"},
            {"from_price": "1", "tick": "0.01"},
        ],
        "instruments": {
            company.symbol: _described(company) for company in session.market.companies
        },
    }


def _described(company: Company) -> dict[str, object]:
    described: dict[str, object] = {"name": company.name, "kind": company.kind.value}
    if company.kind is InstrumentKind.INDEX:
        described |= {"tradable": False, "reason": "an index is a number and cannot be bought"}
    return described


def _notes(session: _Session) -> dict[str, object]:
    return {
        "label": f"generated session of {session.day}, seed {session.seed}: invented companies and prices",
        "generated": True,
        "seed": session.seed,
        "halts": [_halted(session, session.halt)] if session.halt else [],
    }


def _halted(session: _Session, halt: HaltPlan) -> dict[str, object]:
    return {
        "symbol": session.market.companies[halt.company].symbol,
        "start": _stamp(session.starts[halt.first]),
        "end": _stamp(session.starts[halt.last] + MINUTE),
    }


def _row(symbol: str, stamp: str, bar: MinuteBar) -> tuple[str, ...]:
    prices = (
        f"{cents // 100}.{cents % 100:02d}" for cents in (bar.open, bar.high, bar.low, bar.close)
    )
    return (symbol, stamp, *prices, str(bar.volume))


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def _yaml(content: object) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _write(folder: Path, files: dict[str, str]) -> None:
    """Fill a folder beside the wanted one and rename it, so that nobody ever opens half a session."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, text in files.items():
            (unfinished / name).write_text(text, encoding="utf-8", newline="")
        if folder.exists():
            msg = f"{folder} exists already"
            raise FileExistsError(msg)
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
