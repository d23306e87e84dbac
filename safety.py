"""The safety layer: decides whether an order may be sent, and is the only maker of an ApprovedOrder.

Pure: a request, one snapshot, the limits and the time go in; an approval or every reason against it
comes out. Claude reaches none of it. Rules look only at what they are given: a value that is missing
or not finite is a reason to refuse, never a reason to skip a rule.
"""

from collections.abc import Sequence
from dataclasses import InitVar, dataclass, replace
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import final

from rules import market, permission, protection, sale, size
from rules.case import Case, Rule, reason
from rules.codes import Code
from rules.finite import numbers_are_finite
from rules.floors import loosened_limits
from shared.config import LimitSettings
from shared.models import Instrument, OrderRequest, Reason, Refusal, Side, Snapshot

__all__ = [
    "ENTRY_RULES",
    "EXIT_RULES",
    "ApprovedCancel",
    "ApprovedOrder",
    "Code",
    "loosened_limits",
    "on_tick",
    "review",
    "review_cancel",
]

_SEAL = object()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovedOrder:
    """An order that passed every rule; brokers accept nothing else, and only this module can make one."""

    request: OrderRequest
    approved_at: datetime
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        _require_seal(seal)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovedCancel:
    """Leave to cancel one order, protective stops included; only this module can give it."""

    broker_order_id: str
    why: str
    approved_at: datetime
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        _require_seal(seal)


ENTRY_RULES: tuple[Rule, ...] = (
    permission.side_fits_purpose,
    permission.mode_may_open,
    permission.state_is_active,
    permission.nothing_is_unresolved,
    permission.no_cancel_is_pending,
    permission.somebody_watches,
    permission.books_agree,
    permission.books_were_compared,
    permission.symbol_is_not_locked,
    permission.budget_is_left_for_entries,
    permission.account_is_fit,
    permission.day_is_not_lost,
    market.symbol_is_tradable,
    market.lot_and_tick_are_certain,
    permission.session_is_open,
    permission.broker_says_that_it_is_open,
    permission.broker_keeps_the_same_hours,
    permission.clocks_agree,
    permission.not_at_the_edge_of_the_session,
    permission.entries_are_left_today,
    permission.symbol_has_cooled_down,
    market.quote_is_fresh_and_two_sided,
    market.spread_is_narrow,
    market.entry_is_priced,
    market.price_is_inside_collar,
    market.quantity_is_whole_lots,
    market.prices_are_on_tick,
    protection.stop_is_below,
    protection.stop_is_at_a_sound_distance,
    protection.target_is_above,
    protection.reward_is_worth_the_risk,
    size.no_sale_rests,
    size.nothing_is_added_without_a_stop,
    size.position_value_is_within,
    size.position_count_is_within,
    size.gross_exposure_is_within,
    size.trade_risk_is_within,
    size.cash_suffices,
)
"""What new risk has to pass; every rule is asked, every reason is reported."""

EXIT_RULES: tuple[Rule, ...] = (
    permission.side_fits_purpose,
    sale.sale_is_in_session,
    sale.quantity_is_positive,
    market.prices_are_on_tick,
    sale.never_more_than_held,
    sale.replaces_an_open_sale,
)
"""What a sale has to pass: nothing that limits new risk is among them."""


def review(
    request: OrderRequest, snapshot: Snapshot, limits: LimitSettings, now: datetime
) -> ApprovedOrder | Refusal:
    """Approve the request, or name every reason against it.

    Entries face ENTRY_RULES; anything that sells faces EXIT_RULES only, so that no limit on new risk
    can keep the agent in a position.
    """
    case = Case(request=request, snapshot=snapshot, limits=limits, now=now)
    rules = ENTRY_RULES if request.side is Side.BUY else EXIT_RULES
    reasons = tuple(numbers_are_finite(case)) or _collect(rules, case)
    if reasons:
        return Refusal(reasons=reasons)
    return ApprovedOrder(request=request, approved_at=now, seal=_SEAL)


def review_cancel(
    broker_order_id: str, *, why: str, snapshot: Snapshot, now: datetime, to_leave: bool = False
) -> ApprovedCancel | Refusal:
    """Give leave to cancel an open order, unless it is what protects a position.

    Both legs count as protection: a broker that links them cancels the stop with the target. Protection
    may go only `to_leave` the position at once, and only while a sale has a chance: the session is open,
    the symbol trades, and there is a bid.
    """
    order = next((o for o in snapshot.open_orders if o.broker_order_id == broker_order_id), None)
    if order is None:
        return _refusal(Code.NOT_OPEN, f"order {broker_order_id} is not open at the broker")
    held = snapshot.position(order.symbol)
    if order.side is Side.SELL and held is not None and held.quantity > 0:
        reasons = tuple(sale.reasons_to_keep(order, held, snapshot, now, to_leave=to_leave))
        if reasons:
            return Refusal(reasons=reasons)
    return ApprovedCancel(broker_order_id=broker_order_id, why=why, approved_at=now, seal=_SEAL)


def on_tick(request: OrderRequest, instrument: Instrument) -> OrderRequest:
    """Put every price of a request on the instrument's tick, never in the agent's favour.

    An entry's limit and any target are rounded down, a stop below the market up, an exit's limit up,
    so that the reward to risk is judged, and never flattered, by the prices that will be sent.
    """
    limit_rounding = ROUND_FLOOR if request.side is Side.BUY else ROUND_CEILING
    return replace(
        request,
        limit_price=_rounded(request.limit_price, instrument, limit_rounding),
        stop_price=_rounded(request.stop_price, instrument, ROUND_CEILING),
        stop_loss=_rounded(request.stop_loss, instrument, ROUND_CEILING),
        take_profit=_rounded(request.take_profit, instrument, ROUND_FLOOR),
    )


def _rounded(price: Decimal | None, instrument: Instrument, rounding: str) -> Decimal | None:
    if price is None or not price.is_finite() or price <= 0:
        return price
    tick = instrument.tick_at(price)
    return (price / tick).to_integral_value(rounding=rounding) * tick


def _collect(rules: Sequence[Rule], case: Case) -> tuple[Reason, ...]:
    return tuple(found for rule in rules for found in rule(case))


def _refusal(code: Code, text: str) -> Refusal:
    return Refusal(reasons=(reason(code, text),))


def _require_seal(seal: object) -> None:
    if seal is not _SEAL:
        msg = "an approval is made by safety.review and by nothing else"
        raise TypeError(msg)
