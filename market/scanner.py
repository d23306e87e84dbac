"""Ranks symbols for a buyer from one picture of the market, and says why there is nothing to rank.

Pure. During a session it goes by today's trading; before the open by the session before. It knows no
positions and no limits: whether a candidate may be bought is for safety to say.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from market.base import Baseline
from shared.models import Bar, Instrument, Quote, SessionHours


class Basis(StrEnum):
    """Which trading a candidate's numbers come from."""

    TODAY = "today"
    PREVIOUS_SESSION = "previous_session"


class Exclusion(StrEnum):
    """Why a symbol was not ranked."""

    UNKNOWN_INSTRUMENT = "unknown_instrument"
    NOT_TRADABLE = "not_tradable"
    HALTED = "halted"
    NO_QUOTE = "no_quote"
    ONE_SIDED_QUOTE = "one_sided_quote"
    STALE_QUOTE = "stale_quote"
    NOT_TRADED_TODAY = "not_traded_today"
    NO_BASELINE = "no_baseline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One symbol worth a look; None is "not known". Percentages are of the price they start from."""

    symbol: str
    name: str
    basis: Basis
    price: Decimal
    """Last price; before the open the close of the session before."""
    change_pct: Decimal | None
    """From the previous close to the price; before the open, how the session before changed."""
    change_from_open_pct: Decimal | None
    session_volume: int
    """Shares traded in this session so far; truly 0 before the open."""
    relative_volume: Decimal | None
    """Shares so far divided by what an average session has traded by this time."""
    spread_pct: Decimal | None
    score: Decimal
    """-50 to 100, see `scan`."""
    rank: int
    """1 is the best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanOutcome:
    """Candidates by rank, how many symbols were left out for each reason, and why there is none."""

    candidates: tuple[Candidate, ...]
    excluded: Mapping[str, int]
    why_empty: str | None
    """A sentence exactly when there is no candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """What is known of one symbol."""

    symbol: str
    quote: Quote | None
    instrument: Instrument | None
    bars: tuple[Bar, ...] | None
    baseline: Baseline | None


def scan(
    *,
    quotes: Mapping[str, Quote],
    instruments: Mapping[str, Instrument],
    bars: Mapping[str, tuple[Bar, ...]],
    baselines: Mapping[str, Baseline],
    session: SessionHours | None,
    now: datetime,
    limit: int,
    max_quote_age_seconds: float = 120.0,
) -> ScanOutcome:
    """Rank the tradable symbols that are not halted and have a fresh quote of both sides.

    The score adds, each part capped where its divisor is reached:
      35 * change_pct / 5 + 15 * change_from_open_pct / 3     momentum, negative for a falling price
      + 30 * relative_volume / 3                              participation; an unknown one counts as 1
      + 20 * (1 - spread_pct / 0.5)                           liquidity
    Without a previous close the change from the open stands in for change_pct. Before the open there is
    no trading to judge: then it is 35 * change_pct / 5 of the session before alone, out of those with a
    baseline. Ties go by symbol. `bars` may hold earlier sessions; only this session's count. A symbol
    that is not in `bars` is judged by what its quote says of the session.
    """
    if session is None or now >= session.closes_at:
        return ScanOutcome(
            candidates=(), excluded={}, why_empty="no session is open or still to come today"
        )
    found = [
        _candidate(
            _View(
                symbol=symbol,
                quote=quotes.get(symbol),
                instrument=instruments.get(symbol),
                bars=bars.get(symbol),
                baseline=baselines.get(symbol),
            ),
            session,
            now,
            max_quote_age_seconds,
        )
        for symbol in sorted(quotes.keys() | instruments.keys())
    ]
    return _outcome(found, limit)


def tells_of_the_session(quote: Quote) -> bool:
    """Whether a quote says what a scan needs of the session, so that nobody has to ask for its bars."""
    return quote.session_open is not None and bool(quote.session_volume)


def expected_volume_share(session: SessionHours, now: datetime) -> Decimal:
    """Share of an average session's volume traded by `now`, 0 to 1.

    Volume is taken to be U-shaped over trading time u (0 at the open, 1 at the close, lunch left out):
    density 0.6 + 1.2 * (2u - 1)^2, so that the first and last tenth trade twice what the middle does.
    """
    total = sum((closes - opens).total_seconds() for opens, closes in session.parts)
    gone = sum(
        (min(now, closes) - opens).total_seconds() for opens, closes in session.parts if now > opens
    )
    u = Decimal(gone) / Decimal(total)
    return Decimal("0.6") * u + Decimal("0.2") * ((2 * u - 1) ** 3 + 1)


def _candidate(
    view: _View, session: SessionHours, now: datetime, max_age_seconds: float
) -> Candidate | Exclusion:
    instrument = view.instrument
    if instrument is None:
        return Exclusion.UNKNOWN_INSTRUMENT
    if not instrument.tradable:
        return Exclusion.NOT_TRADABLE
    if view.quote is not None and view.quote.halted:
        return Exclusion.HALTED
    if now < session.opens_at:
        return _before_open(instrument, view.baseline)
    return _in_session(instrument, view, session, now, max_age_seconds)


def _before_open(instrument: Instrument, baseline: Baseline | None) -> Candidate | Exclusion:
    if baseline is None or baseline.previous_close is None or baseline.previous_change_pct is None:
        return Exclusion.NO_BASELINE
    change = baseline.previous_change_pct
    return Candidate(
        symbol=instrument.symbol,
        name=instrument.name,
        basis=Basis.PREVIOUS_SESSION,
        price=baseline.previous_close,
        change_pct=_rounded(change),
        change_from_open_pct=None,
        session_volume=0,
        relative_volume=None,
        spread_pct=None,
        score=_rounded(35 * _capped(change / 5)),
        rank=0,
    )


def _in_session(
    instrument: Instrument,
    view: _View,
    session: SessionHours,
    now: datetime,
    max_age_seconds: float,
) -> Candidate | Exclusion:
    quote = view.quote
    if quote is None:
        return Exclusion.NO_QUOTE
    if quote.bid is None or quote.ask is None or quote.last is None:
        return Exclusion.ONE_SIDED_QUOTE
    if (now - quote.at).total_seconds() > max_age_seconds:
        return Exclusion.STALE_QUOTE
    today = _today(quote, view.bars, session, now)
    if today is None:
        return Exclusion.NOT_TRADED_TODAY
    opened, volume = today
    change = _previous_change(quote.last, view)
    from_open = _change_pct(opened, quote.last)
    relative = _relative_volume(volume, view.baseline, expected_volume_share(session, now))
    spread = (quote.ask - quote.bid) / (quote.ask + quote.bid) * 200
    return Candidate(
        symbol=instrument.symbol,
        name=instrument.name,
        basis=Basis.TODAY,
        price=quote.last,
        change_pct=None if change is None else _rounded(change),
        change_from_open_pct=_rounded(from_open),
        session_volume=volume,
        relative_volume=None if relative is None else _rounded(relative),
        spread_pct=_rounded(spread),
        score=_score(
            change=from_open if change is None else change,
            from_open=from_open,
            relative_volume=Decimal(1) if relative is None else relative,
            spread=spread,
        ),
        rank=0,
    )


def _today(
    quote: Quote, bars: tuple[Bar, ...] | None, session: SessionHours, now: datetime
) -> tuple[Decimal, int] | None:
    """First price and shares traded of this session, of its bars, or without any by the quote."""
    if bars is None:
        opened, volume = quote.session_open, quote.session_volume
        return (opened, volume) if opened is not None and volume else None
    today = [bar for bar in bars if session.opens_at <= bar.start and bar.end <= now]
    return (today[0].open, sum(bar.volume for bar in today)) if today else None


def _score(
    *, change: Decimal, from_open: Decimal, relative_volume: Decimal, spread: Decimal
) -> Decimal:
    return _rounded(
        35 * _capped(change / 5)
        + 15 * _capped(from_open / 3)
        + 30 * _capped(relative_volume / 3)
        + 20 * (1 - _capped(spread / Decimal("0.5")))
    )


def _previous_change(last: Decimal, view: _View) -> Decimal | None:
    quoted = view.quote.previous_close if view.quote else None
    known = view.baseline.previous_close if view.baseline else None
    previous = quoted if quoted is not None else known
    return None if previous is None else _change_pct(previous, last)


def _relative_volume(
    volume: int, baseline: Baseline | None, expected_share: Decimal
) -> Decimal | None:
    if baseline is None or not baseline.average_daily_volume or expected_share == 0:
        return None
    return volume / (baseline.average_daily_volume * expected_share)


def _outcome(found: Sequence[Candidate | Exclusion], limit: int) -> ScanOutcome:
    ranked = sorted(
        (one for one in found if isinstance(one, Candidate)),
        key=lambda candidate: (-candidate.score, candidate.symbol),
    )
    excluded = Counter(one.value for one in found if isinstance(one, Exclusion))
    return ScanOutcome(
        candidates=tuple(
            replace(candidate, rank=rank) for rank, candidate in enumerate(ranked[:limit], start=1)
        ),
        excluded=excluded,
        why_empty=None if ranked[:limit] else _why_empty(len(found), limit, excluded),
    )


def _why_empty(symbols: int, limit: int, excluded: Mapping[str, int]) -> str:
    if limit < 1:
        return f"no candidate was asked for: the limit was {limit}"
    if symbols == 0:
        return "the feed knows no symbol"
    reasons = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in excluded.items())
    return f"none of {symbols} symbols can be ranked: {reasons}"


def _change_pct(start: Decimal, end: Decimal) -> Decimal:
    return (end / start - 1) * 100


def _capped(value: Decimal) -> Decimal:
    return max(Decimal(-1), min(Decimal(1), value))


def _rounded(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.01"))
