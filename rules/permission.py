"""Whether the agent may take new risk at all at this moment."""

from collections.abc import Iterator
from datetime import timedelta

from rules.case import Case, reason
from rules.codes import Code
from shared import trading_day
from shared.models import (
    Environment,
    Mode,
    OrderPurpose,
    OrderStatus,
    Reason,
    Side,
    TradingState,
    Verdict,
)


def side_fits_purpose(case: Case) -> Iterator[Reason]:
    """Entries buy and everything else sells: the agent is long only."""
    entry = case.request.purpose is OrderPurpose.ENTRY
    if entry is not (case.request.side is Side.BUY):
        yield reason(
            Code.SIDE_AND_PURPOSE,
            f"entries buy and everything else sells, was {case.request.side} for"
            f" {case.request.purpose}",
        )


def mode_may_open(case: Case) -> Iterator[Reason]:
    """Scan, close and heartbeat open nothing."""
    if case.snapshot.mode is not Mode.TRADE:
        yield reason(
            Code.MODE, f"positions are opened in trade mode only, was {case.snapshot.mode}"
        )


def state_is_active(case: Case) -> Iterator[Reason]:
    """REDUCING and HALTED leave exits and nothing else."""
    snapshot = case.snapshot
    if snapshot.state is not TradingState.ACTIVE:
        why = "; ".join(snapshot.halts) or "no reason was recorded"
        yield reason(Code.TRADING_STATE, f"the agent is {snapshot.state}: {why}")


def nothing_is_unresolved(case: Case) -> Iterator[Reason]:
    """While an order may or may not exist, new risk could be risk taken twice."""
    if case.snapshot.unresolved:
        ids = ", ".join(case.snapshot.unresolved)
        yield reason(Code.UNRESOLVED_ORDER, f"the outcome of {ids} at the broker is not known")


def no_cancel_is_pending(case: Case) -> Iterator[Reason]:
    """An entry whose cancel is not confirmed can still fill, and another one would be a second risk."""
    for order in case.snapshot.open_orders:
        if order.symbol == case.request.symbol and order.status is OrderStatus.CANCEL_PENDING:
            yield reason(
                Code.UNRESOLVED_ORDER,
                f"the cancel of order {order.broker_order_id} in {order.symbol} is not confirmed",
            )


def somebody_watches(case: Case) -> Iterator[Reason]:
    """What is bought has to be watched; a monitor that fell silent watches nothing."""
    within, last = case.snapshot.check_needed_within_seconds, case.snapshot.last_check_at
    if within is None:
        if not case.snapshot.stops_rest_at_broker:
            yield reason(
                Code.MONITOR_SILENT,
                "no stop rests at this broker, so somebody has to watch, and"
                " monitor.entries_need_a_check_within_seconds lets nobody",
            )
        return
    if last is None:
        yield reason(Code.MONITOR_SILENT, "the position monitor has never made a pass")
    elif (silent := (case.now - last).total_seconds()) > within:
        yield reason(
            Code.MONITOR_SILENT,
            f"the position monitor has been silent for {silent:.0f} seconds, {within:.0f} are allowed",
        )


def books_agree(case: Case) -> Iterator[Reason]:
    """Broker and records have to agree about what is held."""
    for disagreement in case.snapshot.disagreements:
        yield reason(Code.RECONCILIATION, disagreement)


def books_were_compared(case: Case) -> Iterator[Reason]:
    """Nothing is bought before broker and records were compared in this session, all of both."""
    match case.snapshot.verdict:
        case Verdict.CLEAN | Verdict.LOCKED:
            return
        case Verdict.UNREADABLE:
            yield reason(
                Code.NO_VERDICT, "the broker could not be relied on when it was last compared"
            )
        case None:
            yield reason(
                Code.NO_VERDICT, "broker and records were not compared in this session yet"
            )


def symbol_is_not_locked(case: Case) -> Iterator[Reason]:
    """What does not fit about a symbol is settled by a person before more of it is bought."""
    why = case.snapshot.locked.get(case.request.symbol)
    if why is not None:
        yield reason(Code.SYMBOL_LOCKED, f"{case.request.symbol} is locked: {why}")


def budget_is_left_for_entries(case: Case) -> Iterator[Reason]:
    """A share of the day's money for Claude is kept for leaving what is entered."""
    left, kept = case.snapshot.budget_left_usd, case.snapshot.budget_kept_for_exits_usd
    if left is not None and left <= kept:
        yield reason(
            Code.BUDGET, f"{left:.2f} USD of the day's budget are left, {kept:.2f} are for exits"
        )


def account_is_fit(case: Case) -> Iterator[Reason]:
    """Paper, not blocked, with equity, and in the currency that the limits are in."""
    account, limits = case.snapshot.account, case.limits
    if account.environment is not Environment.PAPER:
        yield reason(Code.ACCOUNT, f"only paper accounts trade, was {account.environment}")
    if account.blocked:
        yield reason(Code.ACCOUNT, f"account {account.account_id} is blocked at the broker")
    if account.equity <= 0:
        yield reason(Code.ACCOUNT, f"equity must be above 0, was {account.equity}")
    if account.currency != limits.currency:
        yield reason(
            Code.ACCOUNT,
            f"the account is in {account.currency}, the limits are in {limits.currency}",
        )


def session_is_open(case: Case) -> Iterator[Reason]:
    """Continuous trading only; lunch, auctions and holidays are closed."""
    session = case.snapshot.session
    if session is None:
        yield reason(Code.SESSION_CLOSED, f"there is no session on {case.now:%Y-%m-%d}")
    elif not session.is_open(case.now):
        yield reason(
            Code.SESSION_CLOSED,
            f"{session.exchange} is open from {session.opens_at:%H:%M} to"
            f" {session.closes_at:%H:%M} UTC, it was {case.now:%H:%M:%S}",
        )


def exchange_is_not_known_to_be_closed(case: Case) -> Iterator[Reason]:
    """An unscheduled closure shows at the broker alone."""
    session = case.snapshot.session
    if case.snapshot.market_is_open is False and session is not None and session.is_open(case.now):
        yield reason(
            Code.BROKER_CLOSED,
            f"the broker says that {session.exchange} is closed, which by its calendar is open",
        )


def broker_says_that_it_is_open(case: Case) -> Iterator[Reason]:
    """No new risk where the broker does not say that the exchange trades."""
    yield from exchange_is_not_known_to_be_closed(case)
    if case.snapshot.market_is_open is None:
        yield reason(Code.BROKER_CLOSED, "the broker does not say whether the exchange is open")


def broker_keeps_the_same_hours(case: Case) -> Iterator[Reason]:
    """A half day that only one of the two knows of would leave what is bought without a close."""
    session = case.snapshot.session
    differs = None if session is None else trading_day.differs(session, case.snapshot.broker_day)
    if differs is not None:
        yield reason(Code.OTHER_HOURS, differs)


def clocks_agree(case: Case) -> Iterator[Reason]:
    """Sessions, quotes and cool-downs are judged by our clock, so it has to be right."""
    drift, most = case.snapshot.clock_drift_seconds, case.limits.max_clock_drift_seconds
    if drift is None:
        yield reason(Code.CLOCK_DRIFT, "the time at the broker is not known")
    elif abs(drift) > most:
        yield reason(
            Code.CLOCK_DRIFT,
            f"the broker's clock may differ by {most:g} seconds from ours, was {drift:+.1f}",
        )


def not_at_the_edge_of_the_session(case: Case) -> Iterator[Reason]:
    """Prices just after an open and just before a close are no basis for an entry."""
    part = case.snapshot.session.part_at(case.now) if case.snapshot.session else None
    if part is None:
        return
    early = timedelta(minutes=case.limits.no_entry_minutes_after_open)
    late = timedelta(minutes=case.limits.no_entry_minutes_before_close)
    if case.now < part[0] + early:
        yield reason(
            Code.TOO_EARLY,
            f"no entries before {part[0] + early:%H:%M} UTC, it was {case.now:%H:%M:%S}",
        )
    if case.now >= part[1] - late:
        yield reason(
            Code.TOO_LATE,
            f"no entries from {part[1] - late:%H:%M} UTC on, it was {case.now:%H:%M:%S}",
        )


def entries_are_left_today(case: Case) -> Iterator[Reason]:
    """Entries are counted in the database, over all cycles of the session."""
    limits, counted = case.limits, case.snapshot.entries_today
    if sum(counted.values()) >= limits.max_trades_per_day:
        yield reason(
            Code.TRADES_PER_DAY, f"all {limits.max_trades_per_day} entries of the day are used"
        )
    of_symbol = counted.get(case.request.symbol, 0)
    if of_symbol >= limits.max_trades_per_symbol_per_day:
        yield reason(
            Code.TRADES_PER_SYMBOL,
            f"{case.request.symbol} was entered {of_symbol} times today, allowed are"
            f" {limits.max_trades_per_symbol_per_day}",
        )


def symbol_has_cooled_down(case: Case) -> Iterator[Reason]:
    """What was left at a loss is not bought back in the heat."""
    lost_at = case.snapshot.last_loss_at.get(case.request.symbol)
    if lost_at is None:
        return
    until = lost_at + timedelta(minutes=case.limits.cooldown_minutes_after_loss)
    if case.now < until:
        yield reason(
            Code.COOL_DOWN,
            f"{case.request.symbol} was left at a loss at {lost_at:%H:%M}, wait until"
            f" {until:%H:%M} UTC",
        )


def day_is_not_lost(case: Case) -> Iterator[Reason]:
    """Loss since the session's first equity, realised and not; what cannot be known is over the limit."""
    start, account = case.snapshot.session_start_equity, case.snapshot.account
    if start is None or not start.is_finite():
        yield reason(Code.DAILY_LOSS, "the equity at the session's start is not known")
        return
    loss = start - account.equity
    if loss >= case.limits.daily_loss_limit:
        yield reason(
            Code.DAILY_LOSS,
            f"the day's loss of {loss} {account.currency} has reached the limit of"
            f" {case.limits.daily_loss_limit}",
        )
