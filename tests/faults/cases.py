"""What an agent must survive, one case a test: what is injected, and what the exchange's books must then show.

A test that is a case declares all of it; orders and naked seconds are counted from the books after the test
and compared with what it declared, so that the table in the README can be made without running anything.
"""

import functools
import importlib
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from brokers.exposure import naked_spells
from shared.models import Order, Side
from tests.faults.looks import answered_looks, unguarded_seconds
from tests.fixtures.dev_claude import DevClaude
from tests.fixtures.floor import Floor
from tests.fixtures.intl_claude import IntlClaude
from tests.fixtures.rehearsal import Machine
from tests.fixtures.theatre import Theatre

Test = Callable[..., Any]

OUR_PREFIX = "cat-"
"""How the client order ids of the agent begin."""

REQUIRED = (
    *(f"F{number:02}" for number in range(1, 33) if number != 19),
    *(f"F19{letter}" for letter in "abcde"),
    *(f"F{number}" for number in range(33, 39)),
    *(f"F{number}" for number in range(42, 52)),
    *(
        f"R{number:02}"
        for number in (
            5, 10, 11, 12, 13, 14, 16, 17, 19, 20, 28, 32, 33, 34, 46, 48, 50, 55, 63, 65,
        )
    ),
)  # fmt: skip
"""F: what an agent must survive. R: what happened to the one before it. Each has exactly one test."""

AT_ALPACA = tuple(f"A{number:02}" for number in range(1, 18))
"""What dev_claude must survive at Alpaca, over HTTP; each has exactly one test."""

AT_MOOMOO = tuple(f"M{number:02}" for number in range(1, 25))
"""What intl_claude must survive at moomoo, through OpenD; each has exactly one test."""


class Group(StrEnum):
    """Whose books a case is counted from; the value is the group's name in what a run prints."""

    PAPER = "faults"
    ALPACA = "faults at Alpaca"
    MOOMOO = "faults at moomoo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case, as its test declares it."""

    id: str
    title: str
    injected: str
    orders: int
    """How many orders the agent sent that the exchange has."""
    naked_seconds: int
    """How long shares of the agent were without a stop, up to the end of the story.

    At moomoo, which has no stops, how long nobody had looked at their price; `unguarded_seconds` says it.
    """
    verdict: str
    """What the agent makes of it."""

    @property
    def group(self) -> Group:
        """Whose books it is counted from: of the paper exchange, where no simulator's letter is in front."""
        return {"A": Group.ALPACA, "M": Group.MOOMOO}.get(self.id[0], Group.PAPER)


def case(
    id: str,  # noqa: A002 (it is the case's id, wherever it is written)
    title: str,
    *,
    injected: str,
    orders: int,
    verdict: str,
    naked_seconds: int = 0,
) -> Callable[[Test], Test]:
    """Declare a test to be a case; after it, what was declared is compared with the exchange's books."""
    declared = Case(
        id=id,
        title=title,
        injected=injected,
        orders=orders,
        naked_seconds=naked_seconds,
        verdict=verdict,
    )

    def declare(test: Test) -> Test:
        wrapped = _checked_async if inspect.iscoroutinefunction(test) else _checked
        checked = functools.wraps(test)(functools.partial(wrapped, test, declared))
        return _with_case(checked, declared)

    return declare


def declared_cases(folder: Path | None = None) -> tuple[tuple[str, Case], ...]:
    """Return every case with the node id of its test, by case id."""
    found = [
        (f"tests/faults/{path.name}::{name}", declared)
        for path in sorted((folder or Path(__file__).parent).glob("test_*.py"))
        for name, declared in _cases_of(f"tests.faults.{path.stem}")
    ]
    return tuple(sorted(found, key=lambda pair: (pair[1].id, pair[0])))


def cases_of(group: Group) -> tuple[Case, ...]:
    """Return the declared cases of a group, by id."""
    return tuple(declared for _, declared in declared_cases() if declared.group is group)


def matrix(cases: Sequence[Case], passed: Mapping[str, str] | None = None) -> str:
    """Draw the table of a group's cases; with how each ended where that is known."""
    seconds = "unguarded" if cases and cases[0].group is Group.MOOMOO else "naked"
    ended = ["case", "injected", "orders at the broker", f"{seconds} seconds", "verdict"]
    ended += [] if passed is None else ["test"]
    lines = [_row(ended), "|---|---|---|---|---|" + ("" if passed is None else "---|")]
    for one in cases:
        cells = [f"{one.id} {one.title}", one.injected, f"{one.orders}"]
        cells += [f"{one.naked_seconds}", one.verdict]
        cells += [] if passed is None else [passed.get(one.id, "not run")]
        lines.append(_row(cells))
    return "\n".join(lines)


def sent_by_us(orders: Iterable[Order]) -> tuple[Order, ...]:
    """Orders that the agent sent, by the client order ids that only it gives."""
    return tuple(o for o in orders if remark_of(o).startswith(OUR_PREFIX))


def remark_of(order: Order) -> str:
    """Return the client order id as it was sent; the simulated OpenD keeps a number of its own before it."""
    return (order.client_order_id or "").rpartition("|")[2]


def naked_seconds(orders: Sequence[Order], until: datetime) -> float:
    """Seconds in which shares of the agent had no stop; what somebody else bought is not its own.

    To the millisecond: a write at the simulated Alpaca takes a microsecond.
    """
    spells = naked_spells(_ours_and_every_sale(orders), until)
    return round(sum(spell.seconds(until) for spell in spells), 3)


def _ours_and_every_sale(orders: Sequence[Order]) -> list[Order]:
    ours = {order.broker_order_id for order in sent_by_us(orders)}
    return [o for o in orders if o.side is Side.SELL or o.broker_order_id in ours]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _with_case(test: Test, declared: Case) -> Test:
    test.__dict__["case"] = declared
    return test


def _cases_of(module: str) -> Iterator[tuple[str, Case]]:
    for name, value in vars(importlib.import_module(module)).items():
        declared = getattr(value, "case", None)
        if isinstance(declared, Case):
            yield name, declared


async def _checked_async(test: Test, declared: Case, **arguments: Any) -> None:
    running: Awaitable[None] = test(**arguments)
    await running
    books = [await _books_of(value) for value in arguments.values()]
    _compare(declared, [found for found in books if found is not None])


def _checked(test: Test, declared: Case, **arguments: Any) -> None:
    test(**arguments)
    books = [_books_of_machine(value) for value in arguments.values()]
    _compare(declared, [found for found in books if found is not None])


@dataclass(frozen=True, slots=True)
class Books:
    """What a case is counted from."""

    orders: tuple[Order, ...]
    seconds: float


async def _books_of(value: object) -> Books | None:
    match value:
        case Floor():
            return _books(value.venue.exchange.orders(only_open=False), value.venue.clock.now())
        case Theatre():
            stage = value.stage()
            broker = stage.broker()
            try:
                return _books(await broker.orders(only_open=False), stage.clock.now())
            finally:
                await broker.disconnect()
        case _:
            return None


def _books_of_machine(value: object) -> Books | None:
    match value:
        case Machine():
            with value.at_the_exchange() as exchange:
                return _books(exchange.orders(only_open=False), exchange.account().at)
        case DevClaude():
            return _books(value.venue.orders(), value.venue.now())
        case IntlClaude():
            orders, until = value.venue.orders(), value.venue.now()
            looks = answered_looks(value.venue)
            return Books(orders, unguarded_seconds(_ours_and_every_sale(orders), looks, until))
        case _:
            return None


def _books(orders: tuple[Order, ...], until: datetime) -> Books:
    return Books(orders, naked_seconds(orders, until))


def _compare(declared: Case, books: Sequence[Books]) -> None:
    orders = sum(len(sent_by_us(one.orders)) for one in books)
    naked = sum(one.seconds for one in books)

    assert orders == declared.orders, f"{declared.id}: {orders} orders at the broker"
    assert naked == declared.naked_seconds, f"{declared.id}: {naked} naked seconds"
