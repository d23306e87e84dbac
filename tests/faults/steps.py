"""Single steps that cases have in common."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from rehearsal.stand_in import Policy
from shared.models import OrderRequest
from tests.fixtures.claude import DONE, LOG, call, scripted
from tests.fixtures.floor import Floor, draft, record_of
from tests.fixtures.theatre import sale_of, trade_of


def dip(quantity: int = 10) -> OrderRequest:
    """An entry that rests a percent below the market."""
    return draft(quantity, limit="99.00", take_profit=Decimal(102))


def wait(floor: Floor, seconds: float) -> None:
    """Let time pass without a trade."""
    floor.venue.clock.move_to(floor.venue.clock.now() + timedelta(seconds=seconds))


async def entry_state(floor: Floor) -> str:
    """The state of the only entry."""
    (row,) = await floor.rows("SELECT status FROM orders WHERE order_purpose = 'entry'")
    return row["status"]


async def position(floor: Floor) -> dict[str, Any]:
    """The only position."""
    (row,) = await floor.rows("SELECT * FROM positions")
    return row


async def bought(floor: Floor, quantity: int = 10) -> None:
    """An entry that fills at once, with its stop."""
    record = record_of(await (await floor.desk()).enter(draft(quantity), why="volume"))
    assert record.filled_quantity == quantity


async def partly_bought(floor: Floor, quantity: int = 40) -> None:
    """An entry of which 10 shares fill, and a minute without a trade."""
    floor.trade(100, volume=100)
    await (await floor.desk()).enter(draft(quantity), why="volume")
    floor.trade(100, volume=0)


def buys(quantity: int = 10, **changes: object) -> Policy:
    """Claude asks for one entry and is done."""
    return scripted([call("execute_trade", trade_of(quantity, **changes))], [LOG], [DONE])


def sells(quantity: int = 10) -> Policy:
    """Claude asks for one sale and is done."""
    return scripted([call("execute_trade", sale_of(quantity))], [LOG], [DONE])


def quiet() -> Policy:
    """Claude does nothing."""
    return scripted([LOG], [DONE])
