"""Candles of the past: the oldest page comes first, and a bar of minutes has the time at which it ended."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from brokers.faults import Fault
from shared.models import Bar
from tests.brokers.replay import MINUTE
from tests.simulators.market import merged
from tests.simulators.opend.book import local_time
from tests.simulators.opend.market import HongKong
from tests.simulators.opend.messages import Refused, response
from tests.simulators.opend.quotes import found
from tests.simulators.opend.simulation import Simulation
from tests.simulators.opend.wire import Protocol, Request

MOST_AT_ONCE = 1000
_DAY = 2
_MINUTES = {1: 1, 6: 5, 7: 15, 8: 30, 9: 60}
"""Minutes of a candle by `Qot_Common.KLType`."""


def request_history_kl(simulation: Simulation, request: Request, fault: Fault | None) -> Any:
    """3103."""
    del fault
    c2s, answer = request.c2s, response(Protocol.REQUEST_HISTORY_KL)
    described = found(simulation, c2s.security)
    rows = [
        row
        for row in _candles(simulation, described.symbol, c2s.klType)
        if _full(c2s.beginTime, "00:00:00") <= row[0] <= _full(c2s.endTime, "23:59:59")
    ]
    first = int(c2s.nextReqKey) if c2s.nextReqKey else 0
    most = min(c2s.maxAckKLNum or MOST_AT_ONCE, MOST_AT_ONCE)
    answer.s2c.security.CopyFrom(c2s.security)
    answer.s2c.name = described.name
    for n, (label, bar) in enumerate(rows[first : first + most], start=first):
        before = rows[n - 1][1].close if n else bar.open
        _fill(answer.s2c.klList.add(), label, bar, float(before))
    if len(rows) > first + most:
        answer.s2c.nextReqKey = str(first + most).encode()
    return answer


def _candles(simulation: Simulation, symbol: str, kind: int) -> list[tuple[str, Bar]]:
    """Return every candle of a kind with its label, oldest first."""
    market, now = simulation.market, simulation.clock.now()
    if kind == _DAY:
        return [(local_time(market, bar.start), bar) for bar in market.days(symbol, now)]
    if kind not in _MINUTES:
        raise Refused("Candles of this kind are not served here")
    span = timedelta(minutes=_MINUTES[kind])
    groups: dict[datetime, list[Bar]] = {}
    for bar in market.minutes(symbol):
        if bar.end <= now:
            groups.setdefault(_begin(market, bar, span), []).append(bar)
    return [
        (local_time(market, begin + span), merged(bars, begin, span))
        for begin, bars in sorted(groups.items())
    ]


def _begin(market: HongKong, bar: Bar, span: timedelta) -> datetime:
    """Return where a bar's candle begins; candles are counted from the opening of each part of a session."""
    session = market.session(bar.start)
    opened = bar.start if session is None else _opened(session.parts, bar.start)
    return opened + span * ((bar.start - opened) // span)


def _opened(parts: tuple[tuple[datetime, datetime], ...], moment: datetime) -> datetime:
    before: Iterator[datetime] = (opens for opens, _ in reversed(parts) if opens <= moment)
    return next(before, moment)


def _fill(candle: Any, label: str, bar: Bar, before: float) -> None:
    candle.time, candle.isBlank = label, False
    candle.openPrice, candle.highPrice = float(bar.open), float(bar.high)
    candle.lowPrice, candle.closePrice = float(bar.low), float(bar.close)
    candle.lastClosePrice, candle.volume = before, bar.volume
    candle.turnover = float(bar.close * bar.volume)
    candle.changeRate = 100 * (float(bar.close) - before) / before
    candle.timestamp = (bar.start if bar.end - bar.start > 60 * MINUTE else bar.end).timestamp()


def _full(text: str, time_of_day: str) -> str:
    return text if " " in text else f"{text} {time_of_day}"
