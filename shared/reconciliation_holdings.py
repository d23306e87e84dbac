"""Holdings on both sides: more, less, none, a split, a gap; and when an empty list is not believed.

Pure.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from shared.models import Position
from shared.reconciliation_views import (
    BrokerView,
    DatabaseView,
    Delta,
    DeltaKind,
    Unavailable,
    distrust,
    same_symbol,
)

ZERO = Decimal(0)
SPLIT_TOLERANCE = Decimal("0.10")
"""How far quantity ratio times price ratio may be from 1 for a split."""
COST_TOLERANCE = Decimal("0.01")
"""How far what all shares cost may have changed in a split, which moves no money."""
SMALLEST_SPLIT = Decimal("1.2")
"""Shares for one share, or one share for shares: nearer to 1 is no split."""
EMPTY_TOLERANCE = Decimal("0.10")
"""Share of what should be held by which equity and cash may differ while nothing is held."""
EMPTY_READS = 2
"""How often an empty list has to be read before it may be believed."""


def position_deltas(
    database: DatabaseView, broker: BrokerView, gap_pct: Decimal
) -> Iterator[Delta]:
    """Compare what is held, symbol by symbol."""
    if isinstance(broker.positions, Unavailable):
        what = f"the positions could not be read: {broker.positions.why}"
        yield distrust(DeltaKind.READ_FAILED, what)
        return
    odd = [p.symbol for p in broker.positions if not p.quantity.is_finite()]
    if odd:
        what = f"the broker gives no number of shares for {', '.join(odd)}"
        yield distrust(DeltaKind.READ_FAILED, what)
        return
    doubt = _doubtful_emptiness(database, broker)
    if doubt is not None:
        yield distrust(DeltaKind.SUSPICIOUSLY_EMPTY, doubt)
        return
    for holding in _holdings(database, broker.positions):
        yield _quantity(holding)
        yield from _gap(holding, gap_pct)


def _doubtful_emptiness(database: DatabaseView, broker: BrokerView) -> str | None:
    """Say why an empty list of positions is not believed; None where it is, or is not empty."""
    if broker.positions or not (database.positions or any(database.external.values())):
        return None
    names = ", ".join(sorted({*(p.symbol for p in database.positions), *database.external}))
    said = f"the broker lists no position, by our records there are {names}"
    if broker.empty_reads < EMPTY_READS:
        return f"{said}; read once only"
    account = broker.account
    if isinstance(account, Unavailable):
        return f"{said}; and the account could not be read"
    value = account.equity - account.cash
    missing = sum((p.quantity * p.entry_price for p in database.positions), ZERO)
    if not value.is_finite() or abs(value) > max(missing * EMPTY_TOLERANCE, Decimal(1)):
        return f"{said}; yet equity is {account.equity} and cash {account.cash}"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Holding:
    """One symbol as both sides see it."""

    symbol: str
    ours: Decimal
    entry_price: Decimal | None
    held_overnight: bool
    external: Decimal
    shown: Decimal
    average_price: Decimal | None
    market_price: Decimal | None
    last_price: Decimal | None

    @property
    def expected(self) -> Decimal:
        """Shares that should be there."""
        return self.ours + self.external


def _holdings(database: DatabaseView, shown: tuple[Position, ...]) -> Iterator[_Holding]:
    names: dict[str, str] = {}
    for symbol in (
        *(ours.symbol for ours in database.positions),
        *database.external,
        *(held.symbol for held in shown),
    ):
        names.setdefault(same_symbol(symbol), symbol)
    for name, symbol in sorted(names.items()):
        ours = [p for p in database.positions if same_symbol(p.symbol) == name]
        held = [p for p in shown if same_symbol(p.symbol) == name]
        yield _Holding(
            symbol=symbol,
            ours=Decimal(sum(p.quantity for p in ours)),
            entry_price=ours[0].entry_price if ours else None,
            held_overnight=any(p.held_overnight for p in ours),
            external=_total(q for s, q in database.external.items() if same_symbol(s) == name),
            shown=_total(p.quantity for p in held),
            average_price=held[0].average_price if held else None,
            market_price=held[0].market_price if held else None,
            last_price=database.last_prices.get(symbol),
        )


def _quantity(holding: _Holding) -> Delta:
    kind = _kind_of(holding)
    accepted = f" and {holding.external} accepted as not the agent's" if holding.external else ""
    return Delta(
        kind=kind,
        symbol=holding.symbol,
        sentence=f"{holding.symbol}: the broker shows {holding.shown} shares, by our fills there are"
        f" {holding.ours}{accepted}{_why(kind, holding)}",
        expected=holding.expected,
        shown=holding.shown,
    )


def _kind_of(holding: _Holding) -> DeltaKind:
    shown, expected = holding.shown, holding.expected
    if shown == expected:
        return DeltaKind.EQUAL if holding.ours else DeltaKind.EXTERNAL_POSITION
    if shown < 0:
        return DeltaKind.FLIPPED
    if _is_split(holding):
        return DeltaKind.SPLIT_SUSPECTED
    if shown == 0:
        return DeltaKind.DATABASE_ONLY if holding.ours else DeltaKind.BROKER_LESS
    if expected == 0:
        return DeltaKind.BROKER_ONLY
    return DeltaKind.BROKER_MORE if shown > expected else DeltaKind.BROKER_LESS


def _why(kind: DeltaKind, holding: _Holding) -> str:
    if kind is not DeltaKind.SPLIT_SUSPECTED:
        return ""
    return (
        f"; the price went from {holding.last_price or holding.entry_price} to"
        f" {holding.market_price or holding.average_price}, as after a split"
    )


def _is_split(holding: _Holding) -> bool:
    """Whether shares and price moved by the same factor, in opposite directions."""
    if holding.ours <= 0 or holding.expected <= 0 or holding.shown <= 0:
        return False
    factor = holding.shown / holding.expected
    if 1 / SMALLEST_SPLIT < factor < SMALLEST_SPLIT:
        return False
    price = _ratio(holding.market_price, holding.last_price)
    if price is not None and abs(factor * price - 1) <= SPLIT_TOLERANCE:
        return True
    average = _ratio(holding.average_price, holding.entry_price)
    return average is not None and abs(factor * average - 1) <= COST_TOLERANCE


def _gap(holding: _Holding, gap_pct: Decimal) -> Iterator[Delta]:
    if not holding.held_overnight or _is_split(holding):
        return
    move = _ratio(holding.market_price, holding.last_price)
    if move is None or abs(move - 1) * 100 < gap_pct:
        return
    yield Delta(
        kind=DeltaKind.OVERNIGHT_GAP,
        symbol=holding.symbol,
        sentence=f"{holding.symbol} went from {holding.last_price} to {holding.market_price}"
        f" ({(move - 1) * 100:+.1f} %) while {holding.ours} shares were held",
        expected=holding.last_price,
        shown=holding.market_price,
        mark=f"{DeltaKind.OVERNIGHT_GAP} {holding.symbol} from {holding.last_price}",
    )


def _ratio(now: Decimal | None, before: Decimal | None) -> Decimal | None:
    if now is None or before is None or not now.is_finite() or not before.is_finite():
        return None
    return now / before if now > 0 and before > 0 else None


def _total(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, ZERO)
