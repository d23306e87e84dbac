"""The simulated OpenD keeps a connection to itself as the real client does: RSA, then AES."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from Crypto.PublicKey import RSA

from tests.simulators.opend.client import (
    hear_of_orders,
    is_ready,
    ok,
    open_quotes,
    open_trading,
    place,
    use_key,
)
from tests.simulators.opend.venue import OpenDVenue


@pytest.fixture
def key_file(tmp_path: Path, moomoo_home: None) -> Iterator[Path]:
    """A key that the client has, until the test is over: it is one for the whole process."""
    del moomoo_home
    made = write_key(tmp_path / "opend.pem")
    use_key(made)
    yield made
    use_key(None)


@pytest.fixture
def encrypted(tmp_path: Path, key_file: Path) -> Iterator[OpenDVenue]:
    """An OpenD with the same key."""
    venue = OpenDVenue(tmp_path / "opend", key_file)
    try:
        yield venue
    finally:
        venue.close()


def write_key(path: Path) -> Path:
    path.write_bytes(RSA.generate(1024).export_key("PEM"))  # noqa: S505 (what the client can do)
    return path


def is_let_in(venue: OpenDVenue, **words: Any) -> bool:
    context = open_quotes(venue, **words)
    try:
        return is_ready(context) and context.get_global_state()[0] == 0
    finally:
        context.close()


def test_orders_and_pushes_go_encrypted(encrypted: OpenDVenue) -> None:
    context = open_trading(encrypted, is_encrypt=True)
    try:
        told = hear_of_orders(context)
        row = place(context, 101, remark="in secret")
        pushed = told.get(timeout=5)
        again = ok(context.get_global_state())
    finally:
        context.close()

    assert (row["remark"], row["order_status"]) == ("in secret", "FILLED_ALL")
    assert pushed["order_id"] == row["order_id"]
    assert again["trd_logined"]
    assert len(encrypted.orders()) == 1


def test_a_client_with_the_key_may_go_on_in_the_open(encrypted: OpenDVenue) -> None:
    context = open_quotes(encrypted, is_encrypt=False)
    try:
        answer = context.get_global_state()
    finally:
        context.close()

    assert answer[0] == 0


@pytest.mark.parametrize("key", ["another", "none"])
def test_a_client_without_the_key_is_not_let_in(
    encrypted: OpenDVenue, tmp_path: Path, key: str
) -> None:
    use_key(write_key(tmp_path / "other.pem") if key == "another" else None)

    assert not is_let_in(encrypted, is_encrypt=key == "another")


def test_an_opend_without_a_key_lets_no_client_in_that_has_one(
    opend: OpenDVenue, key_file: Path
) -> None:
    assert key_file.exists()
    assert not is_let_in(opend, is_encrypt=True)
    use_key(None)
    assert is_let_in(opend)
