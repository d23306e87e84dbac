"""One stock has one spelling inside and one on the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.opend_symbols import canonical_symbol, wire_code

NUMBERS = st.integers(min_value=1, max_value=99_999)


@given(NUMBERS)
def test_every_code_comes_back_from_its_symbol(number: int) -> None:
    code = f"{number:05}"
    symbol = canonical_symbol(code)

    assert symbol == f"{number:04}"
    assert wire_code(symbol) == code
    assert canonical_symbol(wire_code(symbol)) == symbol
    assert canonical_symbol(f"HK.{code}") == symbol


@given(NUMBERS, NUMBERS)
def test_two_stocks_never_share_a_spelling(one: int, other: int) -> None:
    assert (canonical_symbol(f"{one:05}") == canonical_symbol(f"{other:05}")) == (one == other)


@pytest.mark.parametrize(
    ("symbol", "code"),
    [("0700", "00700"), ("9988", "09988"), ("80700", "80700"), ("0001", "00001")],
)
def test_hong_kongs_usual_symbols(symbol: str, code: str) -> None:
    assert (wire_code(symbol), canonical_symbol(code)) == (code, symbol)


@given(st.text())
def test_what_is_no_code_is_refused_and_never_a_symbol(text: str) -> None:
    digits = text.removeprefix("HK.")
    if len(digits) == 5 and digits.isascii() and digits.isdecimal() and int(digits):
        return
    with pytest.raises(ValueError, match="no code of Hong Kong"):
        canonical_symbol(text)


@pytest.mark.parametrize(
    "text",
    [
        "700",
        "00700",
        "HK.00700",
        "AAPL",
        "",
        "0000",
        "07OO",
        "\u0660\u0667\u0660\u0660",
        "0700\n",
        "N/A",
        "670",
    ],
)
def test_what_is_no_symbol_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no symbol of Hong Kong"):
        wire_code(text)
