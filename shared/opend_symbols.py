"""Hong Kong's symbols: four digits inside ("0700"), five on OpenD's wire ("00700").

This is the only place where one becomes the other: two spellings of one stock would be two stocks.
"""

import re

_WIRE_DIGITS = 5
_CANONICAL_DIGITS = 4
_SYMBOL = re.compile(r"(?!0000)[0-9]{4}|[1-9][0-9]{4}")
_CODE = re.compile(r"(?:HK\.)?(?!00000)([0-9]{5})")


def wire_code(symbol: str) -> str:
    """Return a symbol as OpenD has it. Raises ValueError for one that is not canonical."""
    if _SYMBOL.fullmatch(symbol) is None:
        msg = f"{symbol!r} is no symbol of Hong Kong: four digits, or five that begin with no 0"
        raise ValueError(msg)
    return symbol.zfill(_WIRE_DIGITS)


def canonical_symbol(code: str) -> str:
    """Return the symbol of "00700" or "HK.00700". Raises ValueError for everything else."""
    found = _CODE.fullmatch(code)
    if found is None:
        msg = f"{code!r} is no code of Hong Kong: five digits"
        raise ValueError(msg)
    return found[1].lstrip("0").zfill(_CANONICAL_DIGITS)
