"""What stands beside recorded bars in YAML: the instruments, and the session's label and halts.

Knows no bars; a file that does not fit is a ConfigError naming the file and the field.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, TypeVar

import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from market.recording_files import read_text
from shared.errors import ConfigError, Problem
from shared.models import Instrument, InstrumentKind, TickBand
from shared.ticks import ticks

_Step = Annotated[Decimal, Field(gt=0)]
_Lot = Annotated[int, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Halt(_Part):
    """A stretch in which one symbol does not trade; the end is not part of it."""

    symbol: str
    start: AwareDatetime
    end: AwareDatetime

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> "Halt":
        if self.end <= self.start:
            msg = f"a halt must end after it starts, was {self.start} to {self.end}"
            raise ValueError(msg)
        return self


class Closure(_Part):
    """A stretch in which the whole exchange does not trade, against its calendar; the end is not part of it."""

    start: AwareDatetime
    end: AwareDatetime

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> "Closure":
        if self.end <= self.start:
            msg = f"a closure must end after it starts, was {self.start} to {self.end}"
            raise ValueError(msg)
        return self


class SessionNotes(_Part):
    """`session.yaml`: what a recording says about itself."""

    label: str
    generated: bool
    seed: int | None = None
    halts: tuple[Halt, ...] = ()
    closures: tuple[Closure, ...] = ()


class _Band(_Part):
    from_price: Annotated[Decimal, Field(ge=0)]
    tick: _Step


def _ascend_from_zero(bands: tuple[_Band, ...]) -> tuple[_Band, ...]:
    starts = [band.from_price for band in bands]
    if not starts or starts[0] != 0 or starts != sorted(set(starts)):
        msg = f"tick bands must begin at 0 and ascend, were {[str(start) for start in starts]}"
        raise ValueError(msg)
    return bands


class _Entry(_Part):
    name: str
    kind: InstrumentKind
    tradable: bool = True
    reason: str | None = None
    lot_size: _Lot | None = None
    ticks: tuple[_Band, ...] | None = None


class _InstrumentFile(_Part):
    exchange: str
    currency: str
    lot_size: _Lot
    ticks: tuple[_Band, ...] | None = None
    instruments: dict[str, _Entry]

    @model_validator(mode="after")
    def _bands_are_in_order(self) -> "_InstrumentFile":
        for bands in (self.ticks, *(entry.ticks for entry in self.instruments.values())):
            if bands is not None:
                _ascend_from_zero(bands)
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruments:
    """The symbols a file describes, and how a symbol that it does not name is taken."""

    source: Path
    described: Mapping[str, Instrument]
    reasons: Mapping[str, str]
    """Why a described symbol is not tradable."""
    unnamed: Instrument
    """Stands in for any other symbol: known, never tradable."""

    def instrument(self, symbol: str) -> Instrument:
        """The symbol as described, or as not tradable where the file does not name it."""
        return self.described.get(symbol) or replace(self.unnamed, symbol=symbol, name=symbol)

    def why_not_tradable(self, symbol: str) -> str | None:
        """The reason to show, or None for a tradable symbol."""
        if symbol not in self.described:
            return f"{self.source.name} does not describe {symbol}"
        return self.reasons.get(symbol)


def read_instruments(path: Path, *, exchange: str, currency: str, on: date) -> Instruments:
    """Read an instrument file; raises ConfigError also when it is for another exchange or currency.

    A file without `ticks` gets the exchange's table for shares as of `on`.
    """
    content = _read(path, _InstrumentFile)
    if (content.exchange, content.currency) != (exchange, currency):
        msg = (
            f"{path} describes {content.exchange} in {content.currency}, "
            f"but the agent trades {exchange} in {currency}"
        )
        raise ConfigError(msg)
    default = _bands(content.ticks) if content.ticks else _table(path, exchange, on)
    return Instruments(
        source=path,
        described={
            symbol: _instrument(symbol, entry, content, default)
            for symbol, entry in content.instruments.items()
        },
        reasons={
            symbol: entry.reason or f"{path.name} says that it is not tradable"
            for symbol, entry in content.instruments.items()
            if not entry.tradable
        },
        unnamed=_instrument(
            "", _Entry(name="", kind=InstrumentKind.STOCK, tradable=False), content, default
        ),
    )


def read_session_notes(path: Path) -> SessionNotes:
    """Read `session.yaml`; raises ConfigError."""
    return _read(path, SessionNotes)


_P = TypeVar("_P", bound=_Part)


def _read(path: Path, kind: type[_P]) -> _P:
    try:
        return kind.model_validate(yaml.safe_load(read_text(path)))
    except yaml.YAMLError as e:
        msg = f"{path} is not YAML: {' '.join(str(e).split())}"
        raise ConfigError(msg) from e
    except ValidationError as e:
        problems = [
            Problem(where=f"{path}: {'.'.join(map(str, error['loc']))}", what=error["msg"])
            for error in e.errors(include_url=False)
        ]
        raise ConfigError(problems) from e


def _table(path: Path, exchange: str, on: date) -> tuple[TickBand, ...]:
    try:
        return ticks(exchange, on).bands
    except ValueError as e:
        msg = f"{path} has no ticks, and there is {e}"
        raise ConfigError(msg) from e


def _bands(bands: tuple[_Band, ...]) -> tuple[TickBand, ...]:
    return tuple(TickBand(from_price=band.from_price, tick=band.tick) for band in bands)


def _instrument(
    symbol: str, entry: _Entry, content: _InstrumentFile, default: tuple[TickBand, ...]
) -> Instrument:
    return Instrument(
        symbol=symbol,
        name=entry.name,
        exchange=content.exchange,
        currency=content.currency,
        kind=entry.kind,
        lot_size=entry.lot_size or content.lot_size,
        ticks=_bands(entry.ticks) if entry.ticks else default,
        tradable=entry.tradable,
    )
