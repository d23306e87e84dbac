"""Finds what speaks for holding and for leaving an open position, and what follows from it.

Pure. It knows long positions only, no broker and no feed; what is not known gives no signal, and none
of its answers opens a position.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from decimal import ROUND_CEILING, Decimal

from shared.config import SignalSettings
from shared.models import Instrument
from shared.watch import (
    MEANINGS,
    Baseline,
    Decision,
    Direction,
    Label,
    Readings,
    Recommendation,
    Signal,
    SignalKind,
    Strength,
    VolumePace,
    Watch,
)

RSI_BARS_NEEDED = 28
"""Twice the period: before that an RSI is mostly about its first bar."""
_LEAST, _MOST = Decimal("1e-9"), Decimal("1e12")
_MINUTE = timedelta(minutes=1)


def detect(watch: Watch, settings: SignalSettings) -> tuple[Signal, ...]:
    """Give every signal that the watch shows, in the order of SignalKind as far as they were looked for."""
    return tuple(found for look in _LOOKS for found in look(watch, settings))


def decide(signals: Sequence[Signal]) -> Decision:
    """Say what the signals together recommend; the first row that applies.

    Any strong exit: EXIT. Two moderate exits or more: REVIEW. No moderate exit and a strong hold: HOLD.
    A moderate exit and a strong hold: REVIEW. No exit at all: HOLD. Anything else: REVIEW.
    """
    exits = [signal for signal in signals if signal.direction is Direction.EXIT]
    strong = [signal for signal in exits if signal.strength is Strength.STRONG]
    moderate = [signal for signal in exits if signal.strength is Strength.MODERATE]
    firm = [
        signal
        for signal in signals
        if signal.direction is Direction.HOLD and signal.strength is Strength.STRONG
    ]
    if strong:
        return _decision(Recommendation.EXIT, Label.STRONG_EXIT, strong)
    if firm and not moderate:
        return _decision(Recommendation.HOLD, Label.STRONG_HOLD, firm)
    if exits:
        return _decision(Recommendation.REVIEW, Label.REVIEW, (*(moderate or exits), *firm))
    return _decision(Recommendation.HOLD, Label.HOLD, signals)


def trailing_stop(
    *,
    previous: Decimal | None,
    best_price: Decimal | None,
    instrument: Instrument,
    settings: SignalSettings,
) -> Decimal | None:
    """Where the stop belongs: `trailing_stop_pct` below the best price, and never below the previous stop.

    A new stop is put on the tick that applies at its own price, upwards as safety does it, and at least
    one tick below the best price. A best price that is no price leaves the stop where it was.
    """
    best = _price(best_price)
    if best is None:
        return previous
    wanted = best * (100 - settings.trailing_stop_pct) / 100
    tick = instrument.tick_at(wanted)
    on_tick = (wanted / tick).to_integral_value(rounding=ROUND_CEILING) * tick
    stop = min(on_tick, _tick_below(best, instrument))
    if stop <= 0:
        return previous
    return stop if previous is None else max(previous, stop)


def is_trailing(watch: Watch, settings: SignalSettings) -> bool:
    """Whether the best profit so far is one from which the stop follows the price."""
    best = _change_pct(watch.entry_price, watch.best_price)
    return best is not None and best > settings.trailing_stop_from_pct


def level_reached(
    *, high: Decimal, low: Decimal, stop: Decimal | None, target: Decimal | None
) -> str | None:
    """Say which of a position's own levels two readings of the price both reach; None for neither.

    For brokers at which no stop can rest: there nobody else sells.
    """
    if stop is not None and high <= stop:
        return f"the price {high} is at or below the stop {stop}"
    if target is not None and low >= target:
        return f"the price {low} is at or above the target {target}"
    return None


def profit_pct(watch: Watch) -> Decimal | None:
    """Profit at the present price in percent of the entry, negative for a loss; None if not known."""
    return _change_pct(watch.entry_price, watch.price)


def _tick_below(price: Decimal, instrument: Instrument) -> Decimal:
    """The highest price on the grid that is lower than `price`."""
    tick = instrument.tick_at(price)
    below = ((price / tick).to_integral_value(rounding=ROUND_CEILING) - 1) * tick
    finer = instrument.tick_at(max(below, Decimal(0)))
    return ((price / finer).to_integral_value(rounding=ROUND_CEILING) - 1) * finer


def _loss(watch: Watch, settings: SignalSettings) -> Iterator[Signal]:
    profit = profit_pct(watch)
    if profit is None:
        return
    kind = _first(
        (profit <= -settings.stop_loss_pct, SignalKind.STOP_LOSS_HIT),
        (profit <= -settings.stop_loss_near_pct, SignalKind.STOP_LOSS_NEAR),
        (profit <= -settings.stop_loss_weak_pct, SignalKind.STOP_LOSS_WEAK),
    )
    if kind is not None:
        yield _signal(kind, _result(watch, profit))


def _give_back(watch: Watch, settings: SignalSettings) -> Iterator[Signal]:
    entry, best, price = _price(watch.entry_price), _price(watch.best_price), _price(watch.price)
    if entry is None or best is None or price is None:
        return
    peak, lost = (best - entry) / entry * 100, (best - price) / entry * 100
    if peak > settings.trailing_stop_from_pct and lost >= settings.trailing_stop_pct:
        yield _signal(
            SignalKind.TRAILING_STOP_HIT,
            f"{lost:.2f} points of a best profit of {peak:.2f} % are gone:"
            f" best {best}, now {price}, entry {entry}",
        )


def _profit(watch: Watch, settings: SignalSettings) -> Iterator[Signal]:
    profit = profit_pct(watch)
    if profit is None:
        return
    kind = _first(
        (profit >= settings.take_profit_pct, SignalKind.PROFIT_TARGET_REACHED),
        (profit >= settings.take_profit_moderate_pct, SignalKind.TAKE_PROFIT_MODERATE),
        (profit >= settings.take_profit_weak_pct, SignalKind.TAKE_PROFIT_WEAK),
    )
    if kind is not None:
        yield _signal(kind, _result(watch, profit))
    if settings.healthy_profit_from_pct <= profit <= settings.healthy_profit_to_pct:
        yield _signal(SignalKind.HEALTHY_PROFIT, _result(watch, profit))


def _momentum(watch: Watch, settings: SignalSettings) -> Iterator[Signal]:
    seen = _technicals(watch, settings)
    rsi = _number(seen.rsi_14) if seen and seen.bars_used >= RSI_BARS_NEEDED else None
    if rsi is None:
        return
    kind = _first(
        (rsi >= settings.rsi_overbought, SignalKind.RSI_OVERBOUGHT),
        (rsi >= settings.rsi_high, SignalKind.RSI_HIGH),
        (rsi >= settings.rsi_weak, SignalKind.RSI_WEAK),
        (rsi <= settings.rsi_momentum_dead, SignalKind.RSI_MOMENTUM_DEAD),
        (
            settings.rsi_healthy_from <= rsi <= settings.rsi_healthy_to,
            SignalKind.RSI_HEALTHY,
        ),
    )
    if kind is not None:
        yield _signal(kind, f"the RSI is {rsi:.1f}")


def _volume(watch: Watch, settings: SignalSettings) -> Iterator[Signal]:
    pace = watch.volume
    share = _number(pace.of_entry_pct) if pace else None
    if pace is None or share is None or share < 0:
        return
    kind = _first(
        (share <= settings.volume_dying_pct, SignalKind.VOLUME_DYING),
        (share <= settings.volume_weak_pct, SignalKind.VOLUME_WEAK),
        (share <= settings.volume_dying_weak_pct, SignalKind.VOLUME_DYING_WEAK),
        (share >= settings.volume_strong_pct, SignalKind.VOLUME_STRONG),
        (share >= settings.volume_healthy_pct, SignalKind.VOLUME_HEALTHY),
    )
    if kind is not None:
        yield _volume_signal(kind, pace)


def _volume_signal(kind: SignalKind, pace: VolumePace) -> Signal:
    """A model of the day is too rough to sell by: with it nothing about volume is strong."""
    said = f"volume for the time of day is {pace.of_entry_pct:.1f} % of its pace at the entry"
    if pace.baseline is Baseline.MEASURED:
        return _signal(kind, f"{said}, by {pace.sessions} earlier sessions")
    strength = MEANINGS[kind].strength
    weaker = Strength.MODERATE if strength is Strength.STRONG else strength
    return _signal(kind, f"{said}, by a modelled day", strength=weaker)


def _average_prices(watch: Watch, settings: SignalSettings) -> Iterator[Signal]:
    seen = _technicals(watch, settings)
    if seen is None:
        return
    vwap = _change_pct(seen.vwap, watch.price)
    if vwap is not None:
        kind = _first(
            (vwap <= -settings.below_vwap_pct, SignalKind.BELOW_VWAP),
            (vwap >= settings.above_vwap_pct, SignalKind.ABOVE_VWAP),
        )
        yield from _distance(kind, watch, vwap, f"the VWAP {seen.vwap}")
    ema = _change_pct(seen.ema_20, watch.price)
    if ema is not None:
        kind = _first(
            (ema <= -settings.below_ema20_pct, SignalKind.BELOW_EMA20),
            (ema >= settings.above_ema20_pct, SignalKind.ABOVE_EMA20),
        )
        yield from _distance(kind, watch, ema, f"the EMA20 {seen.ema_20}")


def _distance(
    kind: SignalKind | None, watch: Watch, distance: Decimal, what: str
) -> Iterator[Signal]:
    if kind is not None:
        yield _signal(kind, f"the price {watch.price} is {distance:+.2f} % from {what}")


def _macd(watch: Watch, settings: SignalSettings) -> Iterator[Signal]:
    seen = _technicals(watch, settings)
    line, average = (_number(seen.macd_line), _number(seen.macd_signal)) if seen else (None, None)
    if line is None or average is None:
        return
    kind = _first(
        (line < average, SignalKind.MACD_BEARISH), (line > average, SignalKind.MACD_BULLISH)
    )
    if kind is not None:
        yield _signal(kind, f"the MACD is {line}, its signal line {average}")


def _end_of_trading(watch: Watch, settings: SignalSettings) -> Iterator[Signal]:
    part = watch.session.part_at(watch.now) if watch.session else None
    if watch.session is None or part is None:
        return
    left = part[1] - watch.now
    if part[1] < watch.session.closes_at:
        lunch = settings.minutes_to_lunch * _MINUTE
        near = not watch.may_stay_over_lunch and left <= lunch
        kind = SignalKind.LUNCH_BREAK_SOON if near else None
    else:
        kind = None if watch.may_stay_overnight else _closing(left, settings)
    if kind is not None:
        yield _signal(
            kind, f"trading ends in {left / _MINUTE:.1f} minutes, at {part[1].isoformat()}"
        )


def _closing(left: timedelta, settings: SignalSettings) -> SignalKind | None:
    return _first(
        (left <= settings.minutes_to_close * _MINUTE, SignalKind.MARKET_CLOSING),
        (left <= settings.minutes_to_close_soon * _MINUTE, SignalKind.MARKET_CLOSING_SOON),
    )


def _time_held(watch: Watch, settings: SignalSettings) -> Iterator[Signal]:
    if watch.opened_at is None:
        return
    held = watch.now - watch.opened_at
    said = f"held for {held / _MINUTE:.0f} minutes"
    kind = _first(
        (held >= settings.time_stop_minutes * _MINUTE, SignalKind.TIME_STOP),
        (held >= settings.time_stop_near_minutes * _MINUTE, SignalKind.TIME_STOP_NEAR),
    )
    if kind is not None:
        yield _signal(kind, said)
    if held >= timedelta(hours=settings.overnight_hours):
        yield _signal(SignalKind.OVERNIGHT_HOLD, said)


_Look = Callable[[Watch, SignalSettings], Iterator[Signal]]
_LOOKS: tuple[_Look, ...] = (
    _loss,
    _give_back,
    _profit,
    _momentum,
    _volume,
    _average_prices,
    _macd,
    _end_of_trading,
    _time_held,
)


def _technicals(watch: Watch, settings: SignalSettings) -> Readings | None:
    """The indicators, unless the bars they come from ended too long ago to be about the present."""
    seen = watch.technicals
    if seen is None or seen.as_of is None:
        return None
    age = watch.now - seen.as_of
    return seen if age <= settings.max_technicals_age_minutes * _MINUTE else None


def _first(*rungs: tuple[bool, SignalKind]) -> SignalKind | None:
    """The first kind whose condition holds: of a ladder only the highest rung is given."""
    return next((kind for reached, kind in rungs if reached), None)


def _signal(kind: SignalKind, sentence: str, *, strength: Strength | None = None) -> Signal:
    meaning = MEANINGS[kind]
    return Signal(
        kind=kind,
        direction=meaning.direction,
        strength=strength or meaning.strength,
        sentence=sentence,
    )


def _result(watch: Watch, profit: Decimal) -> str:
    return f"{profit:+.2f} % at {watch.price}, bought at {watch.entry_price}"


def _decision(recommendation: Recommendation, label: Label, because: Sequence[Signal]) -> Decision:
    said = "; ".join(f"{signal.kind}: {signal.sentence}" for signal in because)
    return Decision(
        recommendation=recommendation, label=label, reason=said or "nothing was seen either way"
    )


def _change_pct(start: Decimal | None, end: Decimal | None) -> Decimal | None:
    start, end = _price(start), _price(end)
    return None if start is None or end is None else (end - start) / start * 100


def _price(value: Decimal | None) -> Decimal | None:
    """The value, if it can be a price at all."""
    number = _number(value)
    return number if number is not None and _LEAST <= number <= _MOST else None


def _number(value: Decimal | None) -> Decimal | None:
    return value if value is not None and value.is_finite() else None
