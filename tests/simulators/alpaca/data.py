"""The market data API: snapshots, bars, quotes, trades, news, most active stocks and movers."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from brokers.faults import Fault
from shared.models import Bar
from tests.simulators.alpaca.refusals import Refused
from tests.simulators.alpaca.shapes import moment
from tests.simulators.alpaca.simulation import Simulation
from tests.simulators.alpaca.trading import Endpoint, read_moment
from tests.simulators.alpaca.wire import Answer, Json, Request

MOST_BARS = 10_000
MOST_NEWS = 50
_SIP_DELAY = timedelta(minutes=15)
_A_SHARE_OF_TRADES = 40
_ROUND_LOT = 100


def snapshots(simulation: Simulation, request: Request, fault: Fault | None, _: str) -> Answer:
    """GET /v2/stocks/snapshots: a symbol that nobody knows is not in the answer."""
    del fault
    _require_feed(simulation, request, until=None)
    found = {symbol: _snapshot(simulation, symbol) for symbol in _symbols(request)}
    return Answer(body={symbol: snapshot for symbol, snapshot in found.items() if snapshot})


def latest_quotes(simulation: Simulation, request: Request, fault: Fault | None, _: str) -> Answer:
    """GET /v2/stocks/quotes/latest."""
    del fault
    return _latest(simulation, request, "quotes", _quote)


def latest_trades(simulation: Simulation, request: Request, fault: Fault | None, _: str) -> Answer:
    """GET /v2/stocks/trades/latest."""
    del fault
    return _latest(simulation, request, "trades", _trade)


def latest_bars(simulation: Simulation, request: Request, fault: Fault | None, _: str) -> Answer:
    """GET /v2/stocks/bars/latest."""
    del fault
    return _latest(simulation, request, "bars", _minute)


def bars(simulation: Simulation, request: Request, fault: Fault | None, _: str) -> Answer:
    """GET /v2/stocks/bars: pages go through one symbol after another; a bar under way is not in them."""
    del fault
    query, now = request.query, simulation.clock.now()
    end = read_moment(query.get("end")) or now
    _require_feed(simulation, request, until=end)
    start = read_moment(query.get("start")) or now.replace(hour=0, minute=0)
    rows = [
        (symbol, bar)
        for symbol in sorted(_symbols(request))
        for bar in _bars_of(simulation, symbol, query.get("timeframe", ""), query.get("sort"))
        if start <= bar.start <= end
    ]
    page, token = _page(rows, request, default=1000, most=MOST_BARS)
    found: dict[str, list[Json]] = {}
    for symbol, bar in page:
        found.setdefault(symbol, []).append(_bar(bar))
    return Answer(body={"bars": found, "next_page_token": token})


def news(simulation: Simulation, request: Request, fault: Fault | None, _: str) -> Answer:
    """GET /v1beta1/news, newest first unless asked otherwise."""
    del fault
    query, now, symbols = request.query, simulation.clock.now(), set(_symbols(request))
    start = read_moment(query.get("start"))
    end = read_moment(query.get("end")) or now
    found = [
        story
        for story in sorted(simulation.market.stories, key=lambda story: story.at)
        if (start is None or story.at >= start)
        and story.at <= min(end, now)
        and (not symbols or symbols & set(story.symbols))
    ]
    if query.get("sort", "desc") == "desc":
        found.reverse()
    page, token = _page(found, request, default=10, most=MOST_NEWS)
    stories = [
        {
            "id": story.story_id,
            "headline": story.headline,
            "author": "A Reporter",
            "created_at": f"{story.at:%Y-%m-%dT%H:%M:%SZ}",
            "updated_at": f"{story.at:%Y-%m-%dT%H:%M:%SZ}",
            "summary": story.summary,
            "content": f"<p>{story.summary}</p>" if request.flag("include_content") else "",
            "url": f"https://news.example/{story.story_id}",
            "images": [],
            "symbols": list(story.symbols),
            "source": story.source,
        }
        for story in page
    ]
    return Answer(body={"news": stories, "next_page_token": token})


def most_actives(simulation: Simulation, request: Request, fault: Fault | None, _: str) -> Answer:
    """GET /v1beta1/screener/stocks/most-actives."""
    del fault
    market, now = simulation.market, simulation.clock.now()
    days = [market.today(symbol, now) for symbol in market.symbols()]
    traded = sorted((day for day in days if day), key=lambda day: (-day.volume, day.symbol))
    top = _number(request, "top", default=10, most=100)
    rows = [
        {"symbol": d.symbol, "volume": d.volume, "trade_count": d.volume // _A_SHARE_OF_TRADES}
        for d in traded[:top]
    ]
    return Answer(body={"most_actives": rows, "last_updated": moment(now)})


def movers(simulation: Simulation, request: Request, fault: Fault | None, kind: str) -> Answer:
    """GET /v1beta1/screener/{market_type}/movers."""
    del fault
    market, now = simulation.market, simulation.clock.now()
    top = _number(request, "top", default=10, most=50)
    rows: list[Json] = []
    for symbol in market.symbols() if kind == "stocks" else ():
        today, before = market.today(symbol, now), market.previous_day(symbol, now)
        if today is not None and before is not None and today.close != before.close:
            change = today.close - before.close
            rows.append(
                {
                    "symbol": symbol,
                    "percent_change": float(round(change / before.close * 100, 2)),
                    "change": float(change),
                    "price": float(today.close),
                }
            )
    rows.sort(key=lambda row: row["percent_change"])
    body = {
        "gainers": [row for row in reversed(rows) if row["change"] > 0][:top],
        "losers": [row for row in rows if row["change"] < 0][:top],
        "market_type": kind,
        "last_updated": moment(now),
    }
    return Answer(body=body)


ENDPOINTS: Mapping[str, Endpoint] = {
    "/v2/stocks/snapshots": snapshots,
    "/v2/stocks/bars": bars,
    "/v2/stocks/bars/latest": latest_bars,
    "/v2/stocks/quotes/latest": latest_quotes,
    "/v2/stocks/trades/latest": latest_trades,
    "/v1beta1/news": news,
    "/v1beta1/screener/stocks/most-actives": most_actives,
    "/v1beta1/screener/(stocks|crypto)/movers": movers,
}


def _latest(
    simulation: Simulation,
    request: Request,
    name: str,
    read: Callable[[Simulation, str], Json | None],
) -> Answer:
    _require_feed(simulation, request, until=None)
    found = {symbol: read(simulation, symbol) for symbol in _symbols(request)}
    return Answer(body={name: {symbol: one for symbol, one in found.items() if one}})


def _require_feed(simulation: Simulation, request: Request, *, until: datetime | None) -> None:
    """Refuse the last quarter of an hour of the consolidated tape to who does not pay for it.

    Who names no feed gets what the plan allows.
    """
    recent = until is None or until > simulation.clock.now() - _SIP_DELAY
    if simulation.free_plan and recent and request.query.get("feed") == "sip":
        raise _bad(403, "subscription does not permit querying recent SIP data")


def _bad(status: int, message: str) -> Refused:
    return Refused(Answer(status=status, body={"message": message}))


def _symbols(request: Request) -> list[str]:
    return [symbol for symbol in request.query.get("symbols", "").split(",") if symbol]


def _snapshot(simulation: Simulation, symbol: str) -> Json | None:
    now, market = simulation.clock.now(), simulation.market
    today, before = market.today(symbol, now), market.previous_day(symbol, now)
    parts = {
        "latestTrade": _trade(simulation, symbol),
        "latestQuote": _quote(simulation, symbol),
        "minuteBar": _minute(simulation, symbol),
        "dailyBar": None if today is None else _bar(today),
        "prevDailyBar": None if before is None else _bar(before),
    }
    return {name: part for name, part in parts.items() if part is not None} or None


def _quote(simulation: Simulation, symbol: str) -> Json | None:
    quote = simulation.market.quote(symbol, simulation.clock.now())
    if quote is None:
        return None
    return {
        "t": moment(quote.at),
        "ax": "V",
        "ap": float(quote.ask or 0),
        "as": quote.ask_size or 0,
        "bx": "V",
        "bp": float(quote.bid or 0),
        "bs": quote.bid_size or 0,
        "c": ["R"],
        "z": "C",
    }


def _trade(simulation: Simulation, symbol: str) -> Json | None:
    quote = simulation.market.quote(symbol, simulation.clock.now())
    if quote is None:
        return None
    return {
        "t": moment(quote.at),
        "x": "V",
        "p": float(quote.last or 0),
        "s": _ROUND_LOT,
        "c": ["@"],
        "i": int(quote.at.timestamp()),
        "z": "C",
    }


def _minute(simulation: Simulation, symbol: str) -> Json | None:
    written = _bars_of(simulation, symbol, "1Min", "asc")
    return _bar(written[-1]) if written else None


def _bars_of(
    simulation: Simulation, symbol: str, timeframe: str, direction: str | None
) -> list[Bar]:
    now, market = simulation.clock.now(), simulation.market
    match timeframe:
        case "1Min":
            found = [bar for bar in market.minutes(symbol) if bar.end <= now]
        case "1Day":
            found = market.days(symbol, now)
        case _:
            raise _bad(400, f"the simulator knows no timeframe {timeframe}")
    return found if direction != "desc" else found[::-1]


def _bar(bar: Bar) -> Json:
    mean = (bar.high + bar.low + bar.close) / 3
    return {
        "t": f"{bar.start:%Y-%m-%dT%H:%M:%SZ}",
        "o": float(bar.open),
        "h": float(bar.high),
        "l": float(bar.low),
        "c": float(bar.close),
        "v": bar.volume,
        "n": max(bar.volume // _A_SHARE_OF_TRADES, 1),
        "vw": float(mean.quantize(Decimal("0.000001"))),
    }


def _page(
    rows: list[Any], request: Request, *, default: int, most: int
) -> tuple[list[Any], str | None]:
    """Return one page, and the token of the next; the token says nothing to whom it is not ours."""
    limit = _number(request, "limit", default=default, most=most)
    token = request.query.get("page_token")
    try:
        begin = 0 if token is None else int(bytes.fromhex(token))
    except ValueError:
        raise _bad(400, "invalid page_token") from None
    end = begin + limit
    return rows[begin:end], str(end).encode().hex() if end < len(rows) else None


def _number(request: Request, name: str, *, default: int, most: int) -> int:
    number = int(request.query.get(name, default))
    if not 1 <= number <= most:
        raise _bad(400, f"invalid {name}: it must be between 1 and {most}")
    return number
