"""Whether an entry brings a stop and a target that are worth having."""

from collections.abc import Iterator

from rules.case import Case, reason
from rules.codes import Code
from shared.models import OrderClass, Reason


def stop_is_below(case: Case) -> Iterator[Reason]:
    """A stop below what is paid and below what a sale would bring now, which rests where stops can.

    Where none can it is a level for the monitor, and an order that claims to bring it along is refused.
    """
    stop, price, quote = case.request.stop_loss, case.price, case.quote
    if case.snapshot.stops_rest_at_broker:
        wanted, what = OrderClass.BRACKET, "a stop loss that rests at the broker"
    else:
        wanted, what = (
            OrderClass.SIMPLE,
            "a stop loss for the monitor, since none rests at the broker",
        )
    if stop is None or case.request.order_class is not wanted:
        yield reason(Code.STOP_MISSING, f"an entry needs {what}")
        return
    if price is not None and stop >= price:
        yield reason(Code.STOP_WRONG_SIDE, f"the stop must be below the entry {price}, was {stop}")
    elif quote is not None and quote.bid is not None and stop >= quote.bid:
        yield reason(
            Code.STOP_WRONG_SIDE, f"the stop must be below the bid {quote.bid}, was {stop}"
        )


def stop_is_at_a_sound_distance(case: Case) -> Iterator[Reason]:
    """Not so near that noise takes it, not so wide that it stops nothing."""
    stop, price, instrument = case.request.stop_loss, case.price, case.instrument
    if stop is None or price is None or instrument is None or not 0 < stop < price:
        return
    least = case.limits.min_stop_ticks * instrument.tick_at(price)
    if price - stop < least:
        yield reason(
            Code.STOP_TOO_NEAR,
            f"the stop must be at least {least} below the entry {price}, was {stop}",
        )
    distance_pct = (price - stop) / price * 100
    if distance_pct > case.limits.max_stop_distance_pct:
        yield reason(
            Code.STOP_TOO_WIDE,
            f"the stop may be {case.limits.max_stop_distance_pct} % below the entry {price}, was"
            f" {stop} ({distance_pct:.2f} %)",
        )


def target_is_above(case: Case) -> Iterator[Reason]:
    """A target above what is paid."""
    target, price = case.request.take_profit, case.price
    if target is None:
        yield reason(Code.TARGET_MISSING, "an entry needs a take profit")
    elif price is not None and target <= price:
        yield reason(
            Code.TARGET_WRONG_SIDE, f"the target must be above the entry {price}, was {target}"
        )


def reward_is_worth_the_risk(case: Case) -> Iterator[Reason]:
    """Distance to the target over distance to the stop, from the prices that will be sent."""
    price, stop, target = case.price, case.request.stop_loss, case.request.take_profit
    if price is None or stop is None or target is None or not stop < price < target:
        return
    ratio = (target - price) / (price - stop)
    if ratio < case.limits.min_risk_reward:
        yield reason(
            Code.REWARD_TO_RISK,
            f"reward to risk must be at least {case.limits.min_risk_reward}, was {ratio:.4f}",
        )
