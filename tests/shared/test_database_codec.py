import json
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.database.codec import encode
from shared.models import Side
from shared.sql import Json

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00")),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(st.characters(codec="ascii", exclude_characters="\x00")), inner)
    ),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_plain_values_come_back_as_they_went_in(value: object) -> None:
    assert json.loads(encode(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("10.10"), '"10.10"'),
        (datetime(2026, 6, 15, 14, 30, tzinfo=UTC), '"2026-06-15T14:30:00+00:00"'),
        (date(2026, 6, 15), '"2026-06-15"'),
        (UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
        (Side.BUY, '"buy"'),
        ((1, (2,)), "[1, [2]]"),
        (frozenset({1}), "[1]"),
        ({Side.BUY: Decimal(1)}, '{"buy": "1"}'),
        (Json([Decimal("0.1")]), '["0.1"]'),
        ("nul \x00, half \ud800", '"nul \ufffd, half \ufffd"'),
    ],
    ids=repr,
)
def test_richer_values_have_a_faithful_form(value: object, text: str) -> None:
    assert encode(value) == text


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (Decimal("NaN"), ValueError),
        ([Decimal("-Infinity")], ValueError),
        ({"price": float("nan")}, ValueError),
        (float("inf"), ValueError),
        (datetime(2026, 6, 15, 14, 30), ValueError),  # noqa: DTZ001  a naive time is the point
        (b"bytes", TypeError),
        ({"order": ...}, TypeError),
    ],
    ids=repr,
)
def test_what_has_no_faithful_form_is_refused(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        encode(value)
