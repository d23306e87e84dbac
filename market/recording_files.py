"""The files of a recording on disk: where they lie and how their text becomes values.

Knows no calendar and no clock. What the operator has to correct is a ConfigError naming file and line.
"""

import csv
import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from io import StringIO
from pathlib import Path

from shared.errors import ConfigError, FeedUnavailable, Problem
from shared.models import Bar, Headline, utc

BAR_COLUMNS = ("symbol", "timestamp", "open", "high", "low", "close", "volume")
HEADLINE_COLUMNS = ("id", "timestamp", "source", "symbols", "sentiment", "text")
MINUTE = timedelta(minutes=1)
_INSTRUMENTS = Path(__file__).resolve().parent.parent / "config" / "instruments"
_DEFAULT_INSTRUMENTS = {"XNYS": _INSTRUMENTS / "us.yaml"}
_MOST_PROBLEMS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingFiles:
    """Where the parts of one recording lie; None is a part that it does not have."""

    bars: Path
    instruments: Path
    daily: Path | None
    headlines: Path | None
    session: Path | None


def locate(path: Path, *, exchange: str, instruments_path: Path | None) -> RecordingFiles:
    """Find the parts of a recording: a folder, or one CSV file (gzip too) with bars.

    Instruments come from `instruments_path`, else `instruments.yaml` in the folder or
    `NAME.instruments.yaml` beside `NAME.csv`, else the project's file for the exchange.
    """
    folder = path if path.is_dir() else None
    bars = path if folder is None else _csv(folder, "bars")
    if bars is None or not bars.is_file():
        msg = f"there are no bars at {path}: give a CSV file, or a folder with bars.csv or bars.csv.gz"
        raise ConfigError(msg)
    beside = path.parent / f"{path.name.removesuffix('.gz').removesuffix('.csv')}.instruments.yaml"
    own_instruments = folder / "instruments.yaml" if folder else beside
    return RecordingFiles(
        bars=bars,
        instruments=instruments_path or _instruments(own_instruments, exchange),
        daily=_csv(folder, "daily") if folder else None,
        headlines=_existing(folder / "headlines.csv") if folder else None,
        session=_existing(folder / "session.yaml") if folder else None,
    )


def read_bars(path: Path, *, length: timedelta) -> Mapping[str, tuple[Bar, ...]]:
    """Read bars of one length, per symbol in time order; the same unchanged file is parsed once.

    Raises ConfigError naming each bad line, FeedUnavailable when the file cannot be read.
    """
    try:
        stat = path.stat()
    except OSError as e:
        raise _unreadable(path, e) from e
    return _bars(path.resolve(), stat.st_mtime_ns, stat.st_size, length)


def read_headlines(path: Path) -> tuple[Headline, ...]:
    """Read news, oldest first. `symbols` are separated by blanks; an empty sentiment is None."""
    rows = csv.DictReader(StringIO(read_text(path)), restkey="more", restval="")
    if tuple(rows.fieldnames or ()) != HEADLINE_COLUMNS:
        raise _wrong_columns(path, HEADLINE_COLUMNS, rows.fieldnames)
    found: list[Headline] = []
    problems: list[Problem] = []
    for row in rows:
        try:
            found.append(_headline(row))
        except (ValueError, InvalidOperation) as e:
            problems.append(Problem(where=f"{path}:{rows.line_num}", what=f"not a headline: {e}"))
    if problems:
        raise ConfigError(problems[:_MOST_PROBLEMS])
    return tuple(sorted(found, key=lambda headline: (headline.at, headline.headline_id)))


def read_text(path: Path) -> str:
    """Read a text file, unpacking `.gz`. Raises ConfigError or FeedUnavailable."""
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (gzip.BadGzipFile, zlib.error, EOFError, UnicodeDecodeError) as e:
        msg = f"{path} is damaged: {e}"
        raise ConfigError(msg) from e
    except OSError as e:
        raise _unreadable(path, e) from e


@lru_cache(maxsize=8)
def _bars(
    path: Path, _mtime_ns: int, _size: int, length: timedelta
) -> Mapping[str, tuple[Bar, ...]]:
    reader = csv.reader(StringIO(read_text(path)))
    header = next(reader, None)
    if header is None or tuple(header) != BAR_COLUMNS:
        raise _wrong_columns(path, BAR_COLUMNS, header)
    parser = _BarParser(length)
    problems: list[Problem] = []
    for row in reader:
        if (what := parser.add(row)) is not None:
            problems.append(Problem(where=f"{path}:{reader.line_num}", what=what))
            if len(problems) == _MOST_PROBLEMS:
                break
    if problems:
        raise ConfigError(problems)
    return {symbol: tuple(bars) for symbol, bars in sorted(parser.bars.items())}


class _BarParser:
    """Turns rows into bars, each distinct price and moment only once: recordings repeat both."""

    def __init__(self, length: timedelta) -> None:
        self.bars: dict[str, list[Bar]] = {}
        self._length: timedelta = length
        self._prices: _Prices = _Prices()
        self._moments: _Moments = _Moments()

    def add(self, row: list[str]) -> str | None:
        """Take one row; return what is wrong with it, or None."""
        try:
            bar = self._bar(row)
        except ValueError as e:
            return str(e)
        before = self.bars.setdefault(bar.symbol, [])
        if before and bar.start <= before[-1].start:
            return _out_of_order(bar, before[-1])
        before.append(bar)
        return None

    def _bar(self, row: list[str]) -> Bar:
        if len(row) != len(BAR_COLUMNS) or not row[0]:
            msg = f"a bar has {len(BAR_COLUMNS)} values and a symbol, was {','.join(row)!r}"
            raise ValueError(msg)
        prices = self._prices
        start = self._moments[row[1]]
        if self._length == MINUTE and (start.second or start.microsecond):
            msg = f"a one-minute bar begins on a full minute, was {row[1]}"
            raise ValueError(msg)
        bar = Bar(
            symbol=row[0],
            start=start,
            end=start + self._length,
            open=prices[row[2]],
            high=prices[row[3]],
            low=prices[row[4]],
            close=prices[row[5]],
            volume=_volume(row[6]),
        )
        if not (bar.low <= bar.open <= bar.high and bar.low <= bar.close <= bar.high):
            msg = f"open and close must lie between low and high, was {','.join(row)}"
            raise ValueError(msg)
        return bar


class _Prices(dict[str, Decimal]):
    def __missing__(self, text: str) -> Decimal:
        try:
            price = Decimal(text)
        except InvalidOperation as e:
            msg = f"a price must be a number, was {text!r}"
            raise ValueError(msg) from e
        if not price.is_finite() or price <= 0:
            msg = f"a price must be positive and finite, was {text!r}"
            raise ValueError(msg)
        return self.setdefault(text, price)


class _Moments(dict[str, datetime]):
    def __missing__(self, text: str) -> datetime:
        return self.setdefault(text, utc(datetime.fromisoformat(text)))


def _volume(text: str) -> int:
    if not text.isdecimal():
        msg = f"volume must be a whole number of shares and not negative, was {text!r}"
        raise ValueError(msg)
    return int(text)


def _out_of_order(bar: Bar, before: Bar) -> str:
    moment = bar.start.isoformat()
    if bar.start == before.start:
        return f"{bar.symbol} has two bars that begin at {moment}"
    return f"{bar.symbol} goes back in time, from {before.start.isoformat()} to {moment}"


def _headline(row: Mapping[str, str]) -> Headline:
    text, sentiment = row["text"], row["sentiment"]
    if not text or "more" in row:
        msg = f"it must have {len(HEADLINE_COLUMNS)} values and a text, was {','.join(map(str, row.values()))!r}"
        raise ValueError(msg)
    return Headline(
        headline_id=row["id"],
        at=utc(datetime.fromisoformat(row["timestamp"])),
        source=row["source"],
        symbols=tuple(row["symbols"].split()),
        text=text,
        sentiment=_sentiment(sentiment) if sentiment else None,
    )


def _sentiment(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite() or abs(value) > 1:
        msg = f"sentiment must lie between -1 and 1, was {text!r}"
        raise ValueError(msg)
    return value


def _instruments(own: Path, exchange: str) -> Path:
    if own.is_file():
        return own
    if exchange not in _DEFAULT_INSTRUMENTS:
        msg = f"a recording of {exchange} needs its instruments described in {own}"
        raise ConfigError(msg)
    return _DEFAULT_INSTRUMENTS[exchange]


def _csv(folder: Path, name: str) -> Path | None:
    both = [
        found for suffix in (".csv", ".csv.gz") if (found := folder / f"{name}{suffix}").is_file()
    ]
    if len(both) > 1:
        msg = f"{folder} holds both {both[0].name} and {both[1].name}; keep one"
        raise ConfigError(msg)
    return both[0] if both else None


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None


def _wrong_columns(path: Path, expected: tuple[str, ...], found: object) -> ConfigError:
    return ConfigError(
        [Problem(where=f"{path}:1", what=f"columns must be {expected}, was {found}")]
    )


def _unreadable(path: Path, error: OSError) -> ConfigError | FeedUnavailable:
    if isinstance(error, FileNotFoundError):
        return ConfigError(f"{path} does not exist")
    return FeedUnavailable(f"{path} cannot be read: {error}")
