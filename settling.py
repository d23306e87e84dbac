"""Settles what a comparison left locked, on the word of a person.

Invents no fill and no profit: shares become somebody else's, a position is adjusted, an order counts as
not placed; then the locks go. Whether that was right, the next comparison says.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from shared.database import orders, positions, reconciliations
from shared.database.connection import transaction
from shared.database.positions import PositionRecord
from shared.errors import CatalystError
from shared.ledger import PRECISION, Adjustment
from shared.models import Instrument, Verdict
from shared.order_life import OrderState
from shared.reconciliation_views import Delta, DeltaKind, SymbolLock, same_symbol
from standing import Seen, Standpoint, take_stock


class NotSettled(CatalystError):
    """Nothing was changed; the sentence says what has to be done first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a person said about a symbol."""

    symbol: str
    why: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What was done on a person's word, and how things stand since."""

    done: tuple[str, ...]
    released: tuple[SymbolLock, ...]
    seen: Seen


async def settle(point: Standpoint, seen: Seen, word: Word) -> Settled:
    """Settle everything about a symbol as it was just seen, release its locks, and compare again.

    All of it or nothing. Raises NotSettled when the broker cannot be relied on, when nothing is found or
    locked, and for what only a person at the broker can settle.
    """
    if seen.found.verdict is Verdict.UNREADABLE:
        raise NotSettled(f"nothing is settled while {seen.found.sentence()}")
    name = same_symbol(word.symbol)
    deltas = [d for d in seen.found.deltas if d.kind.locks and same_symbol(d.symbol or "") == name]
    locks = await reconciliations.locks_in_force(point.connection, point.agent_id)
    symbols = {lock.symbol for lock in locks if same_symbol(lock.symbol) == name}
    if not deltas and not symbols:
        raise NotSettled(f"nothing about {word.symbol} is locked or differs")
    settlement = _Settlement(point, seen, word)
    async with transaction(point.connection):
        done = [await settlement.of(delta) for delta in deltas]
        released = [lock for symbol in sorted(symbols) for lock in await settlement.release(symbol)]
    return Settled(
        done=tuple(filter(None, done)), released=tuple(released), seen=await take_stock(point)
    )


class _Settlement:
    """One person's word about one symbol, turned into rows."""

    def __init__(self, point: Standpoint, seen: Seen, word: Word) -> None:
        self._point: Standpoint = point
        self._seen: Seen = seen
        self._word: Word = word

    async def of(self, delta: Delta) -> str | None:
        """Settle one finding and say what was done; None where the release alone is the settlement."""
        match delta.kind:
            case DeltaKind.BROKER_MORE | DeltaKind.BROKER_ONLY:
                return await self._external(delta, await self._ours(delta))
            case DeltaKind.BROKER_LESS | DeltaKind.DATABASE_ONLY:
                return await self._fewer(delta)
            case DeltaKind.SPLIT_SUSPECTED:
                return await self._split(delta)
            case DeltaKind.ORDER_UNRESOLVED:
                return await self._move(delta, OrderState.NOT_PLACED)
            case DeltaKind.ORDER_MISSING:
                return await self._move(delta, OrderState.CANCELED)
            case DeltaKind.FLIPPED:
                raise NotSettled(
                    f"{delta.sentence}: buy them back at the broker, then compare again"
                )
            case _:
                return None

    async def release(self, symbol: str) -> tuple[SymbolLock, ...]:
        """Release every lock of a symbol."""
        return await reconciliations.release(
            self._point.connection,
            agent_id=self._point.agent_id,
            symbol=symbol,
            by=self._word.by,
            why=self._word.why,
            at=self._point.clock.now(),
        )

    async def _fewer(self, delta: Delta) -> str:
        """Take ours down to whole shares that are there; what is there beyond them is not ours."""
        ours, shown = await self._ours(delta), _required(delta.shown)
        left = min(ours, int(shown))
        if ours != left:
            held = await self._held(delta)
            await self._adjust(held, left, held.entry_price)
        external = (
            await self._external(delta, left) if shown != left or self._accepted(delta) else ""
        )
        return "; ".join(
            filter(None, (f"{delta.symbol}: ours are {left} shares, were {ours}", external))
        )

    async def _split(self, delta: Delta) -> str:
        """Multiply shares and divide prices; fractions of a share are not ours to trade."""
        held = await self._held(delta)
        shown, factor = _required(delta.shown), _required(delta.shown) / _required(delta.expected)
        after = int(held.quantity * factor)
        if after == 0:
            raise NotSettled(
                f"{delta.sentence}: no whole share is left of ours; sell at the broker"
            )
        price = (held.entry_price * held.quantity / after).quantize(PRECISION)
        known = await self._point.broker.instruments((held.symbol,))
        instrument = known.get(held.symbol)
        await self._adjust(
            held,
            after,
            price,
            stop_loss=_scaled(held.stop_loss, factor, instrument, ROUND_CEILING),
            take_profit=_scaled(held.take_profit, factor, instrument, ROUND_FLOOR),
        )
        external = await self._external(delta, after) if shown != after else ""
        said = f"{held.symbol}: {held.quantity} shares became {after}"
        return "; ".join(filter(None, (said, external)))

    async def _external(self, delta: Delta, ours: int) -> str:
        quantity = _required(delta.shown) - ours
        await reconciliations.accept_external(
            self._point.connection,
            agent_id=self._point.agent_id,
            symbol=_required_text(delta.symbol),
            quantity=quantity,
            why=self._word.why,
            accepted_by=self._word.by,
            at=self._point.clock.now(),
        )
        return f"{quantity} shares of {delta.symbol} are not the agent's"

    async def _adjust(
        self,
        held: PositionRecord,
        quantity: int,
        entry_price: Decimal,
        *,
        stop_loss: Decimal | None = None,
        take_profit: Decimal | None = None,
    ) -> None:
        await positions.adjust_position(
            self._point.connection,
            agent_id=self._point.agent_id,
            symbol=held.symbol,
            adjustment=Adjustment(
                quantity_after=quantity,
                entry_price_after=entry_price,
                at=self._point.clock.now(),
            ),
            stop_loss=stop_loss,
            take_profit=take_profit,
            why=self._word.why,
            accepted_by=self._word.by,
        )

    async def _move(self, delta: Delta, to: OrderState) -> str:
        moved = await orders.move_order(
            self._point.connection,
            order_id=_required_id(delta.order_id),
            to=to,
            at=self._point.clock.now(),
            detail=f"on the word of {self._word.by}: {self._word.why}",
        )
        return f"order {moved.client_order_id or moved.broker_order_id} is {to}"

    async def _ours(self, delta: Delta) -> int:
        name = same_symbol(_required_text(delta.symbol))
        held = await self._open()
        return sum(record.quantity for record in held if same_symbol(record.symbol) == name)

    async def _held(self, delta: Delta) -> PositionRecord:
        name = same_symbol(_required_text(delta.symbol))
        return next(one for one in await self._open() if same_symbol(one.symbol) == name)

    async def _open(self) -> tuple[PositionRecord, ...]:
        return await positions.open_positions(self._point.connection, self._point.agent_id)

    def _accepted(self, delta: Delta) -> bool:
        """Whether shares of the symbol were accepted as somebody else's before."""
        name = same_symbol(_required_text(delta.symbol))
        external = self._seen.database.external
        return any(quantity for symbol, quantity in external.items() if same_symbol(symbol) == name)


def _scaled(
    price: Decimal | None, factor: Decimal, instrument: Instrument | None, rounding: str
) -> Decimal | None:
    """Divide a price by a split's factor and put it on the tick."""
    if price is None:
        return None
    scaled = price / factor
    if instrument is None:
        return scaled
    tick = instrument.tick_at(scaled)
    return (scaled / tick).to_integral_value(rounding=rounding) * tick


def _required(amount: Decimal | None) -> Decimal:
    if amount is None:
        msg = "a finding about a quantity has no quantity"
        raise ValueError(msg)
    return amount


def _required_id(order_id: int | None) -> int:
    if order_id is None:
        msg = "a finding about an order has no order"
        raise ValueError(msg)
    return order_id


def _required_text(symbol: str | None) -> str:
    if symbol is None:
        msg = "a finding about a symbol has no symbol"
        raise ValueError(msg)
    return symbol
