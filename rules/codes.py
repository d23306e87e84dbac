"""Every reason for which safety refuses; documentation lists them from here."""

from collections.abc import Mapping
from enum import StrEnum


class Code(StrEnum):
    """Why safety refuses: stable names, written to the database and shown to Claude."""

    NOT_FINITE = "NOT_FINITE"
    SIDE_AND_PURPOSE = "SIDE_AND_PURPOSE"
    MODE = "MODE"
    TRADING_STATE = "TRADING_STATE"
    UNRESOLVED_ORDER = "UNRESOLVED_ORDER"
    MONITOR_SILENT = "MONITOR_SILENT"
    RECONCILIATION = "RECONCILIATION"
    NO_VERDICT = "NO_VERDICT"
    SYMBOL_LOCKED = "SYMBOL_LOCKED"
    BUDGET = "BUDGET"
    ACCOUNT = "ACCOUNT"
    SYMBOL_NOT_TRADABLE = "SYMBOL_NOT_TRADABLE"
    LOT_OR_TICK_IN_DOUBT = "LOT_OR_TICK_IN_DOUBT"
    SESSION_CLOSED = "SESSION_CLOSED"
    BROKER_CLOSED = "BROKER_CLOSED"
    OTHER_HOURS = "OTHER_HOURS"
    CLOCK_DRIFT = "CLOCK_DRIFT"
    TOO_EARLY = "TOO_EARLY"
    TOO_LATE = "TOO_LATE"
    QUOTE_MISSING = "QUOTE_MISSING"
    QUOTE_STALE = "QUOTE_STALE"
    SPREAD = "SPREAD"
    PRICE_COLLAR = "PRICE_COLLAR"
    PRICE_MISSING = "PRICE_MISSING"
    QUANTITY = "QUANTITY"
    LOT_SIZE = "LOT_SIZE"
    TICK_SIZE = "TICK_SIZE"
    STOP_MISSING = "STOP_MISSING"
    STOP_WRONG_SIDE = "STOP_WRONG_SIDE"
    STOP_TOO_NEAR = "STOP_TOO_NEAR"
    STOP_TOO_WIDE = "STOP_TOO_WIDE"
    TARGET_MISSING = "TARGET_MISSING"
    TARGET_WRONG_SIDE = "TARGET_WRONG_SIDE"
    REWARD_TO_RISK = "REWARD_TO_RISK"
    OPPOSITE_ORDER = "OPPOSITE_ORDER"
    ALREADY_HELD = "ALREADY_HELD"
    POSITION_VALUE = "POSITION_VALUE"
    POSITION_SHARE = "POSITION_SHARE"
    POSITION_COUNT = "POSITION_COUNT"
    GROSS_EXPOSURE = "GROSS_EXPOSURE"
    TRADE_RISK = "TRADE_RISK"
    CASH = "CASH"
    DAILY_LOSS = "DAILY_LOSS"
    TRADES_PER_DAY = "TRADES_PER_DAY"
    TRADES_PER_SYMBOL = "TRADES_PER_SYMBOL"
    COOL_DOWN = "COOL_DOWN"
    NOT_HELD = "NOT_HELD"
    NOT_OPEN = "NOT_OPEN"
    PROTECTS_POSITION = "PROTECTS_POSITION"


MEANINGS: Mapping[Code, str] = {
    Code.NOT_FINITE: "a number that a rule needs is NaN or infinite",
    Code.SIDE_AND_PURPOSE: "an entry sells, or something else buys",
    Code.MODE: "a position would be opened in another mode than trade",
    Code.TRADING_STATE: "the agent is reducing or halted",
    Code.UNRESOLVED_ORDER: "the outcome of an earlier order, or of a cancel in the symbol, is not known",
    Code.MONITOR_SILENT: "the position monitor has not made a pass lately, or need not where it is the only stop",
    Code.RECONCILIATION: "broker and records disagree about what is held",
    Code.NO_VERDICT: "broker and records were not compared this session, or the broker was unreadable",
    Code.SYMBOL_LOCKED: "what was found about the symbol waits for a person",
    Code.BUDGET: "what is left of the day's budget is kept for exits",
    Code.ACCOUNT: "the account is live, blocked, without equity, or in another currency",
    Code.SYMBOL_NOT_TRADABLE: "the symbol is unknown, an index, or not tradable",
    Code.LOT_OR_TICK_IN_DOUBT: "what the broker says of lot or tick contradicts what is known; exits go on",
    Code.SESSION_CLOSED: "the exchange is not in continuous trading",
    Code.BROKER_CLOSED: "the broker says that the exchange is closed when it should be open, or an entry cannot learn it",
    Code.OTHER_HOURS: "calendar and broker disagree about how much of the date is traded",
    Code.CLOCK_DRIFT: "this machine's clock and the broker's lie too far apart",
    Code.TOO_EARLY: "the session, or its part after lunch, has only just begun",
    Code.TOO_LATE: "the session, or its part before lunch, is about to end",
    Code.QUOTE_MISSING: "there is no two-sided quote, or trading in the symbol is halted",
    Code.QUOTE_STALE: "the quote is too old, or from the future",
    Code.SPREAD: "bid and ask lie too far apart",
    Code.PRICE_COLLAR: "the limit lies too far from the middle of bid and ask",
    Code.PRICE_MISSING: "an entry's type and its limit price do not fit",
    Code.QUANTITY: "the quantity is not above 0",
    Code.LOT_SIZE: "the quantity is not a multiple of the lot",
    Code.TICK_SIZE: "a price is not a positive multiple of the tick",
    Code.STOP_MISSING: "an entry has no stop that will rest at the broker or, where none can, that the monitor guards",
    Code.STOP_WRONG_SIDE: "the stop is not below the entry and the bid",
    Code.STOP_TOO_NEAR: "the stop is fewer ticks away than it has to be",
    Code.STOP_TOO_WIDE: "the stop is further away than it may be",
    Code.TARGET_MISSING: "an entry has no target",
    Code.TARGET_WRONG_SIDE: "the target is not above the entry",
    Code.REWARD_TO_RISK: "the target is too near for the distance to the stop",
    Code.OPPOSITE_ORDER: "a sale of the symbol rests, so a purchase would be a wash trade",
    Code.ALREADY_HELD: "the symbol is held or on order where no stop rests, and its one stop is that of its first entry",
    Code.POSITION_VALUE: "the position would be too large, pending buys included",
    Code.POSITION_SHARE: "the position would be too large a share of equity",
    Code.POSITION_COUNT: "too many positions would be open or on order",
    Code.GROSS_EXPOSURE: "everything held and on order would be too much for the equity",
    Code.TRADE_RISK: "the loss at the stop would be too large a share of equity",
    Code.CASH: "cash after pending buys, or buying power, does not suffice",
    Code.DAILY_LOSS: "the day's loss has reached its limit, or cannot be known",
    Code.TRADES_PER_DAY: "the day's entries are used up",
    Code.TRADES_PER_SYMBOL: "the day's entries in this symbol are used up",
    Code.COOL_DOWN: "the symbol was left at a loss a short time ago",
    Code.NOT_HELD: "more would be sold than is held and available",
    Code.NOT_OPEN: "the order to be replaced or cancelled is not open",
    Code.PROTECTS_POSITION: "the order to be cancelled protects a position",
}
"""When each is given."""
