"""One look at one position: what was seen and follows from it, as a row and as a question.

Reads nothing and changes nothing; what is done about it is for `guard` to say.
"""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import signals
from market.watching import Seen
from shared import second_opinion
from shared.database.monitor import Check, WatchState
from shared.database.positions import PositionRecord
from shared.second_opinion import Opinion
from shared.watch import Decision, Direction, Recommendation, Signal, Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One position as it is seen, and what follows."""

    record: PositionRecord
    state: WatchState
    watch: Watch
    seen: Seen
    found: tuple[Signal, ...]
    decision: Decision

    @property
    def is_to_be_left(self) -> bool:
        """Whether the rules alone say so."""
        return self.decision.recommendation is Recommendation.EXIT


def as_check(look: Look, opinion: Opinion | None, error: str | None, *, pause: timedelta) -> Check:
    """Say for the database what was seen and decided, and when the next look is due."""
    watch, technicals = look.watch, look.seen.technicals
    return Check(
        position_id=look.record.position_id,
        symbol=watch.symbol,
        status="running" if error is None else "error",
        next_check_at=watch.now + pause,
        last_price=watch.price,
        high_watermark=watch.best_price,
        current_pnl_pct=signals.profit_pct(watch),
        last_rsi=technicals.rsi_14 if technicals else None,
        last_macd_signal=_side(technicals.macd_line, technicals.macd_signal)
        if technicals
        else None,
        last_vwap_position=_side(watch.price, technicals.vwap) if technicals else None,
        last_ema20_position=_side(watch.price, technicals.ema_20) if technicals else None,
        hold_signals=tuple(one.kind for one in look.found if one.direction is Direction.HOLD),
        exit_signals=tuple(one.kind for one in look.found if one.direction is Direction.EXIT),
        signal_strength=look.decision.label,
        recommendation=look.decision.recommendation,
        recommendation_reason=look.decision.reason,
        reviews=int(opinion is not None),
        last_review=opinion.recommendation if opinion else None,
        review_cost_usd=opinion.cost_usd if opinion else Decimal(0),
        error=error,
    )


def as_question(look: Look) -> str:
    """Ask a model about what the rules leave open, with facts alone."""
    record, watch = look.record, look.watch
    facts: dict[str, object] = {
        "symbol": record.symbol,
        "shares": record.quantity,
        "currency": record.currency,
        "bought_at": record.entry_price,
        "bought": record.opened_at,
        "why_bought": record.entry_reason,
        "price": watch.price,
        "now": watch.now,
        "profit_pct": signals.profit_pct(watch),
        "best_price": watch.best_price,
        "stop": record.stop_loss,
        "target": record.take_profit,
    }
    return second_opinion.question(facts, [second_opinion.in_words(one) for one in look.found])


def _side(value: Decimal | None, of: Decimal | None) -> str | None:
    """Say on which side of a line a value lies."""
    if value is None or of is None:
        return None
    return "above" if value > of else "below"
