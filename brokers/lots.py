"""Board lots: what of a holding an exchange would take, and what is too little for it.

Pure. Where a stop rests the whole holding rests under it, lots or not; this is for brokers without stops.
"""

from collections.abc import Iterable

from shared.database.positions import PositionRecord
from shared.models import Instrument, Snapshot


def whole_lots(quantity: int, instrument: Instrument | None) -> int:
    """Return the most shares of a quantity that are whole lots; all of it where the lot is not known."""
    return quantity if instrument is None else quantity // instrument.lot_size * instrument.lot_size


def is_dust(quantity: int, instrument: Instrument | None) -> bool:
    """Whether something is held of which the exchange takes nothing."""
    return quantity > 0 and whole_lots(quantity, instrument) == 0


def dust_of(held: Iterable[PositionRecord], snapshot: Snapshot) -> tuple[PositionRecord, ...]:
    """List the positions of less than a lot for which no order is under way.

    Where stops rest at the broker there are none: their stops are looked after whatever the lot is.
    """
    if snapshot.stops_rest_at_broker:
        return ()
    busy = {order.symbol for order in snapshot.open_orders}
    return tuple(
        record
        for record in held
        if record.symbol not in busy
        and is_dust(record.quantity, snapshot.instruments.get(record.symbol))
    )
