"""The quote protocols about the present: what a stock is, what it costs now, when its market is open."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zlib import crc32

from brokers.faults import Fault
from shared.models import Instrument, InstrumentKind
from tests.simulators.opend.book import local_time
from tests.simulators.opend.market import symbol_of, wire_code
from tests.simulators.opend.messages import Refused, quoting, response
from tests.simulators.opend.simulation import Simulation
from tests.simulators.opend.wire import Protocol, Request

HK_SECURITY = 1
MOST_SNAPSHOTS = 400
_BASIC = 1
_WHOLE, _MORNING = 0, 1
_HK_TRADE_DATES = 1
_NORMAL, _SUSPENDED = 1, 9
_LISTED = "2004-06-16"


def get_static_info(simulation: Simulation, request: Request, fault: Fault | None) -> Any:
    """3202: of the stocks that are named, else of all of a kind."""
    del fault
    c2s, answer = request.c2s, response(Protocol.GET_STATIC_INFO)
    named = [found(simulation, security) for security in c2s.securityList]
    every = [i for i in simulation.market.instruments.values() if _kind(i) == c2s.secType]
    for described in named or every:
        basic = answer.s2c.staticInfoList.add().basic
        basic.security.market, basic.security.code = HK_SECURITY, wire_code(described.symbol)
        basic.id, basic.lotSize = crc32(described.symbol.encode()), described.lot_size
        basic.secType, basic.name = _kind(described), described.name
        basic.listTime, basic.delisting, basic.exchType = _LISTED, False, 1
    return answer


def get_security_snapshot(simulation: Simulation, request: Request, fault: Fault | None) -> Any:
    """3203: one unknown stock fails the whole request."""
    del fault
    answer = response(Protocol.GET_SECURITY_SNAPSHOT)
    securities = request.c2s.securityList
    if len(securities) > MOST_SNAPSHOTS:
        raise Refused(f"At most {MOST_SNAPSHOTS} stocks at once")
    for security in securities:
        described = found(simulation, security)
        basic = answer.s2c.snapshotList.add().basic
        basic.name, basic.type = described.name, _kind(described)
        basic.lotSize, basic.turnoverRate = described.lot_size, 0.0
        _fill_prices(simulation, described, basic)
        quote = simulation.market.quote(described.symbol, simulation.clock.now())
        basic.isSuspend = quote is not None and quote.halted
        basic.secStatus = _SUSPENDED if basic.isSuspend else _NORMAL
        if quote is not None and quote.bid is not None and quote.ask is not None:
            basic.bidPrice, basic.askPrice = float(quote.bid), float(quote.ask)
            basic.bidVol = (quote.bid_size or 0) * described.lot_size
            basic.askVol = (quote.ask_size or 0) * described.lot_size
    return answer


def sub(simulation: Simulation, request: Request, fault: Fault | None) -> Any:
    """3001: quotes of a stock are had only on a connection that subscribed to them."""
    del fault
    c2s, answer = request.c2s, response(Protocol.SUB)
    answer.s2c.SetInParent()
    own = {pair for pair in simulation.subscribed if pair[0] == request.connection}
    if c2s.isUnsubAll:
        simulation.subscribed -= own
        return answer
    if _BASIC in c2s.subTypeList:
        pairs = {(request.connection, found(simulation, s).symbol) for s in c2s.securityList}
        kept = simulation.subscribed - pairs
        simulation.subscribed = kept | pairs if c2s.isSubOrUnSub else kept
    return answer


def get_basic_qot(simulation: Simulation, request: Request, fault: Fault | None) -> Any:
    """3004."""
    del fault
    answer = response(Protocol.GET_BASIC_QOT)
    for security in request.c2s.securityList:
        described = found(simulation, security)
        if (request.connection, described.symbol) not in simulation.subscribed:
            raise Refused(f"Please subscribe to the basic quote of {security.code} first")
        basic = answer.s2c.basicQotList.add()
        basic.name, basic.isSuspended, basic.turnoverRate = described.name, False, 0.0
        _fill_prices(simulation, described, basic)
        basic.amplitude = 100 * (basic.highPrice - basic.lowPrice) / basic.lastClosePrice
        basic.secStatus = _NORMAL
    return answer


def get_market_state(simulation: Simulation, request: Request, fault: Fault | None) -> Any:
    """3223."""
    del fault
    answer = response(Protocol.GET_MARKET_STATE)
    for security in request.c2s.securityList:
        described, row = found(simulation, security), answer.s2c.marketInfoList.add()
        row.security.market, row.security.code = HK_SECURITY, wire_code(described.symbol)
        row.name = described.name
        row.marketState = simulation.market.state(simulation.clock.now())
    return answer


def request_trade_date(simulation: Simulation, request: Request, fault: Fault | None) -> Any:
    """3219: half days are mornings; closures that nobody planned are not in it."""
    del fault
    c2s, answer = request.c2s, response(Protocol.REQUEST_TRADE_DATE)
    if c2s.market != _HK_TRADE_DATES:
        raise Refused("No authority for the trade dates of this market")
    calendar = simulation.market.calendar
    day = max(date.fromisoformat(c2s.beginTime[:10]), calendar.first_date)
    last = min(date.fromisoformat(c2s.endTime[:10]), calendar.last_date)
    answer.s2c.SetInParent()
    while day <= last:
        hours = calendar.session_on(day)
        if hours is not None:
            row = answer.s2c.tradeDateList.add()
            row.time = day.isoformat()
            row.timestamp = hours.opens_at.timestamp()
            row.tradeDateType = _MORNING if len(hours.parts) == 1 else _WHOLE
        day += timedelta(days=1)
    return answer


def found(simulation: Simulation, security: Any) -> Instrument:
    """Return the stock that a request names; raise Refused for another market's or an unknown one."""
    known = simulation.market.instrument(symbol_of(security.code))
    if security.market != HK_SECURITY or known is None:
        raise Refused(f"Unknown stock {security.code}")
    return known


def _fill_prices(simulation: Simulation, described: Instrument, basic: Any) -> None:
    """Fill in what snapshots and quotes share; before its first trade of a day a stock has only a last price."""
    market, now = simulation.market, simulation.clock.now()
    previous, today = (
        market.previous_day(described.symbol, now),
        market.today(described.symbol, now),
    )
    assert previous is not None
    last = today.close if today else previous.close
    basic.security.market, basic.security.code = HK_SECURITY, wire_code(described.symbol)
    basic.listTime, basic.priceSpread = _LISTED, float(described.tick_at(last))
    basic.curPrice, basic.lastClosePrice = float(last), float(previous.close)
    basic.openPrice, basic.highPrice, basic.lowPrice = (
        (float(today.open), float(today.high), float(today.low)) if today else (0.0, 0.0, 0.0)
    )
    basic.volume = today.volume if today else 0
    basic.turnover = float(turnover(simulation, described.symbol, now))
    quote = market.quote(described.symbol, now)
    basic.updateTime = local_time(market, quote.at if quote else previous.end)


def turnover(simulation: Simulation, symbol: str, now: datetime) -> Decimal:
    """Return the money that changed hands today."""
    market = simulation.market
    today = market.calendar.exchange_date(now)
    return sum(
        (
            bar.close * bar.volume
            for bar in market.minutes(symbol)
            if bar.end <= now and market.calendar.exchange_date(bar.start) == today
        ),
        Decimal(0),
    )


def _kind(described: Instrument) -> int:
    is_fund = described.kind is InstrumentKind.ETF
    kind: int = quoting.SecurityType_Trust if is_fund else quoting.SecurityType_Eqty
    return kind
