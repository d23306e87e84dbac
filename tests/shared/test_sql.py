from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from shared.sql import DatabaseKind, Json, Queries, load, parse

PLAIN = """-- A file may say what it is about.

-- name: one
-- Return one.
SELECT :a::int, ':not_a_parameter', "odd:name", :b, :a -- nor :this
/* nor :that */;

-- name: two
-- Return two.
SELECT $tag$ :neither $tag$;
"""


def test_parameters_are_numbered_in_order_of_appearance_and_reused() -> None:
    one, two = parse(PLAIN, where="plain.sql")

    assert one.parameters == ("a", "b")
    assert one.sql.startswith(
        "SELECT $1::int, ':not_a_parameter', \"odd:name\", $2, $1 -- nor :this"
    )
    assert "/* nor :that */" in one.sql
    assert (two.parameters, two.sql) == ((), "SELECT $tag$ :neither $tag$;")


def test_a_query_keeps_its_name_and_its_description() -> None:
    one, _ = parse(PLAIN, where="plain.sql")

    assert (one.name, one.description) == ("one", "Return one.")


def test_bind_puts_values_in_the_order_of_their_numbers() -> None:
    one, _ = parse(PLAIN, where="plain.sql")

    assert one.bind(b="x", a=1) == (one.sql, 1, "x")


@pytest.mark.parametrize(
    "arguments", [{}, {"a": 1}, {"a": 1, "b": 2, "c": 3}, {"a": 1, "c": 2}], ids=str
)
def test_bind_refuses_missing_and_extra_names(arguments: dict[str, object]) -> None:
    one, _ = parse(PLAIN, where="plain.sql")

    with pytest.raises(TypeError, match="query one lacks"):
        one.bind(**arguments)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0.1, TypeError),
        (Decimal("NaN"), ValueError),
        (Decimal("Infinity"), ValueError),
        (datetime(2026, 6, 15, 9, 30), ValueError),  # noqa: DTZ001  a naive time is the point
        ((1, 0.5), TypeError),
    ],
    ids=str,
)
def test_bind_refuses_what_the_driver_would_store_without_complaint(
    value: object, error: type[Exception]
) -> None:
    one, _ = parse(PLAIN, where="plain.sql")

    with pytest.raises(error, match="b must be"):
        one.bind(a=1, b=value)


def test_text_that_postgresql_cannot_hold_is_marked_and_not_lost() -> None:
    one, _ = parse(PLAIN, where="plain.sql")

    assert one.bind(a="nul \x00", b=("\ud800",))[1:] == ("nul \ufffd", ["\ufffd"])


def test_json_values_are_left_to_the_codec() -> None:
    one, _ = parse(PLAIN, where="plain.sql")
    value = Json({"share": 0.5})

    assert one.bind(a=value, b=datetime(2026, 6, 15, tzinfo=UTC))[1] is value


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("SELECT 1;\n-- name: one\n-- One.\nSELECT 1;", "SQL before the first name"),
        ("-- name: one\nSELECT 1;", "needs a name and a line of description"),
        ("-- name: one\n-- One.\nSELECT 1;\n-- name:\n-- Two.\nSELECT 2;", "needs a name"),
    ],
    ids=["statement first", "no description", "no name"],
)
def test_a_bad_header_is_refused_when_the_file_is_read(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse(text, where="bad.sql")


def test_a_name_used_twice_is_refused_even_across_files(tmp_path: Path) -> None:
    for name in ("a.sql", "b.sql"):
        (tmp_path / name).write_text("-- name: one\n-- One.\nSELECT 1;\n", encoding="utf-8")

    with pytest.raises(ValueError, match=r"b\.sql: the name one is used twice"):
        load(tmp_path)


def test_files_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("-- name: one\n-- One.\nSELECT 1;\n", encoding="utf-8")

    assert load(tmp_path) is load(tmp_path)


def test_both_databases_have_statements_and_no_name_that_is_not_known() -> None:
    trading = Queries(DatabaseKind.TRADING)

    assert "open_orders" in trading
    assert "unread_messages" in Queries(DatabaseKind.RESEARCH)
    assert len(trading) == len(set(trading))
    with pytest.raises(KeyError):
        _ = trading["no_such_query"]
