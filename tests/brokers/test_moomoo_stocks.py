"""What one odd row in OpenD's lists of stocks does to the others: nothing."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, cast

import pytest

from brokers.moomoo_stocks import SNAPSHOT, STATIC_INFO, MoomooStocks
from shared.clock import ManualClock
from shared.opend import CallFailed, OpenD, Refused
from shared.opend_symbols import wire_code
from shared.unreadable import Unreadable
from tests.brokers.replay import at
from tests.simulators.opend.messages import module

FOUR = ("0005", "0700", "0941", "9988")


class Gateway:
    """OpenD as far as its stocks go, with fields of its own for some."""

    def __init__(self) -> None:
        self.odd: dict[tuple[int, str], Mapping[str, object]] = {}
        self.failures: dict[int, CallFailed] = {}
        self.asked: list[int] = []

    async def ask(self, protocol: int, c2s: Mapping[str, Any], **_: object) -> Any:
        self.asked.append(protocol)
        if protocol in self.failures:
            raise self.failures[protocol]
        named = [security["code"] for security in c2s.get("securityList", ())]
        codes = named or [wire_code(symbol) for symbol in FOUR]
        if protocol == STATIC_INFO:
            said = module("Qot_GetStaticInfo").S2C()
            for code in codes:
                basic = said.staticInfoList.add().basic
                basic.security.market, basic.security.code = 1, code
                basic.lotSize, basic.secType, basic.name = 100, 3, code
                self._make_odd(protocol, code, basic)
            return said
        said = module("Qot_GetSecuritySnapshot").S2C()
        for code in codes:
            basic = said.snapshotList.add().basic
            basic.security.market, basic.security.code = 1, code
            basic.curPrice, basic.lastClosePrice = 100.0, 100.0
            basic.priceSpread, basic.lotSize = 0.1, 100
            self._make_odd(protocol, code, basic)
        return said

    def _make_odd(self, protocol: int, code: str, basic: Any) -> None:
        for name, value in self.odd.get((protocol, code), {}).items():
            if name == "code":
                basic.security.code = value
            else:
                setattr(basic, name, value)


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
def stocks(gateway: Gateway) -> MoomooStocks:
    opend = cast("OpenD", gateway)
    return MoomooStocks(opend, ManualClock(at(2)), currency="HKD", at_once=20)


@pytest.mark.parametrize("fields", [{"lotSize": 0}, {"lotSize": -1}, {"name": "N/A"}])
async def test_a_stock_that_cannot_be_read_is_no_reason_to_know_no_other(
    gateway: Gateway, stocks: MoomooStocks, fields: dict[str, object]
) -> None:
    gateway.odd[STATIC_INFO, "09988"] = fields
    found = await stocks.instruments(FOUR)

    assert list(found) == ["0005", "0700", "0941"]
    assert {one.doubt for one in found.values()} == {None}
    with pytest.raises(Unreadable, match=r"lotSize|name"):
        await stocks.instruments(["9988"])


async def test_a_list_of_which_nothing_can_be_read_is_no_list(
    gateway: Gateway, stocks: MoomooStocks
) -> None:
    gateway.odd = {(STATIC_INFO, wire_code(symbol)): {"lotSize": 0} for symbol in FOUR}
    with pytest.raises(Unreadable, match="lotSize"):
        await stocks.instruments(FOUR)

    gateway.odd = {}
    assert list(await stocks.instruments(FOUR)) == list(FOUR)


@pytest.mark.parametrize("fields", [{"curPrice": float("nan")}, {"lotSize": -1}, {"code": "HSI"}])
async def test_a_price_step_that_cannot_be_read_is_a_doubt_and_keeps_nobody_from_selling(
    gateway: Gateway, stocks: MoomooStocks, fields: dict[str, object]
) -> None:
    gateway.odd[SNAPSHOT, "09988"] = fields
    found = await stocks.instruments(FOUR)

    assert [symbol for symbol, one in found.items() if one.doubt is not None] == ["9988"]
    assert "states no price step for 9988" in (found["9988"].doubt or "")
    assert found["9988"].tick_at(Decimal(100)) == Decimal("0.1")


@pytest.mark.parametrize(
    ("failure", "asked"),
    [
        (CallFailed("broke off before it answered", may_have_arrived=True), 1),
        (Refused("This request is too frequent"), 1),
        (Refused("no right to this quote"), 1 + len(FOUR)),
    ],
)
async def test_price_steps_that_cannot_be_asked_for_are_doubts_and_keep_nobody_from_selling(
    gateway: Gateway, stocks: MoomooStocks, failure: CallFailed, asked: int
) -> None:
    gateway.failures[SNAPSHOT] = failure
    found = await stocks.instruments(FOUR)
    questions = gateway.asked.count(SNAPSHOT)
    gateway.failures.clear()
    again = await stocks.instruments(FOUR)

    assert {symbol: one.lot_size for symbol, one in found.items()} == dict.fromkeys(FOUR, 100)
    assert all("states no price step" in (one.doubt or "") for one in found.values())
    assert questions == asked
    assert {one.doubt for one in again.values()} == {None}


async def test_a_list_of_stocks_that_cannot_be_asked_for_is_an_error(
    gateway: Gateway, stocks: MoomooStocks
) -> None:
    gateway.failures[STATIC_INFO] = CallFailed("broke off", may_have_arrived=True)
    with pytest.raises(CallFailed):
        await stocks.instruments(FOUR)
