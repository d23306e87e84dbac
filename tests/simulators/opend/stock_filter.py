"""The stock filter: ranges over price, value and what the last sessions did; a page at a time."""

from collections.abc import Callable, Mapping
from typing import Any

from brokers.faults import Fault
from shared.models import Bar, InstrumentKind
from tests.simulators.opend.market import wire_code
from tests.simulators.opend.messages import Refused, filtering, response
from tests.simulators.opend.quotes import HK_SECURITY
from tests.simulators.opend.simulation import Simulation
from tests.simulators.opend.wire import Protocol, Request

MOST_AT_ONCE = 200
SHARES_IN_ISSUE = 1_000_000_000
"""Of every company."""
_DESCENDING = 2
Measure = Callable[[list[Bar]], float]

BASE: Mapping[int, Measure] = {
    filtering.StockField_CurPrice: lambda days: float(days[-1].close),
    filtering.StockField_MarketVal: lambda days: float(days[-1].close) * SHARES_IN_ISSUE,
}
"""Of all days that are known."""
ACCUMULATED: Mapping[int, Measure] = {
    filtering.AccumulateField_ChangeRate: lambda days: (
        100 * float(days[-1].close / days[0].close - 1)
    ),
    filtering.AccumulateField_Amplitude: lambda days: (
        100 * float((max(d.high for d in days) - min(d.low for d in days)) / days[0].close)
    ),
    filtering.AccumulateField_Volume: lambda days: (
        sum(day.volume for day in days[1:]) / (len(days) - 1)
    ),
    filtering.AccumulateField_Turnover: lambda days: (
        float(sum(day.close * day.volume for day in days[1:])) / (len(days) - 1)
    ),
}
"""Of the days asked for, and the one before them."""


def stock_filter(simulation: Simulation, request: Request, fault: Fault | None) -> Any:
    """3215: stocks in order of their codes unless a filter sorts them."""
    del fault
    c2s, answer = request.c2s, response(Protocol.STOCK_FILTER)
    if c2s.financialFilterList or c2s.patternFilterList or c2s.customIndicatorFilterList:
        raise Refused("Filters of this kind are not served here")
    if c2s.num > MOST_AT_ONCE:
        raise Refused(f"At most {MOST_AT_ONCE} stocks at once")
    rows = _rows(simulation, c2s)
    for wanted in (*c2s.baseFilterList, *c2s.accumulateFilterList):
        if wanted.sortDir:
            key = _key(wanted)
            rows.sort(key=lambda row: row[1][key], reverse=wanted.sortDir == _DESCENDING)
    page = rows[c2s.begin : c2s.begin + c2s.num]
    answer.s2c.lastPage = c2s.begin + len(page) >= len(rows)
    answer.s2c.allCount = len(rows)
    for symbol, values in page:
        data = answer.s2c.dataList.add()
        data.security.market, data.security.code = HK_SECURITY, wire_code(symbol)
        data.name = simulation.market.instruments[symbol].name
        for (field, days), value in values.items():
            if days is None:
                data.baseDataList.add(fieldName=field, value=value)
            else:
                data.accumulateDataList.add(fieldName=field, value=value, days=days)
    return answer


_Key = tuple[int, int | None]
_Row = tuple[str, dict[_Key, float]]


def _rows(simulation: Simulation, c2s: Any) -> list[_Row]:
    now, found = simulation.clock.now(), list[_Row]()
    filters = (*c2s.baseFilterList, *c2s.accumulateFilterList)
    for symbol, described in sorted(simulation.market.instruments.items()):
        if described.kind is not InstrumentKind.STOCK:
            continue
        days = simulation.market.days(symbol, now)
        values = {_key(wanted): _measured(wanted, days) for wanted in filters}
        if all(_is_within(wanted, values[_key(wanted)]) for wanted in filters):
            found.append((symbol, values))
    return found


def _key(wanted: Any) -> _Key:
    is_base = "days" not in wanted.DESCRIPTOR.fields_by_name
    return wanted.fieldName, None if is_base else wanted.days


def _measured(wanted: Any, days: list[Bar]) -> float:
    field, count = _key(wanted)
    measure = BASE.get(field) if count is None else ACCUMULATED.get(field)
    if measure is None:
        raise Refused(f"Field {field} cannot be filtered by here")
    return measure(days if count is None else days[-count - 1 :])


def _is_within(wanted: Any, value: float) -> bool:
    """Whether a value is in the range; without a word of the client it is not filtered at all."""
    if not wanted.HasField("isNoFilter") or wanted.isNoFilter:
        return True
    return not (
        (wanted.HasField("filterMin") and value < wanted.filterMin)
        or (wanted.HasField("filterMax") and value > wanted.filterMax)
    )
