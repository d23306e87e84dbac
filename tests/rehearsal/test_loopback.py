import pytest

from rehearsal.loopback import is_loopback, refuse_unless_rehearsal
from shared.errors import ConfigError
from tests.fixtures.claude import PAPER, REAL

LOCAL = [
    "http://127.0.0.1:8080/v2",
    "https://127.8.9.10",
    "127.0.0.1:11111",
    "http://[::1]:8080",
    "[::1]:11111",
    "localhost",
    "http://LOCALHOST:1",
    "postgresql://catalyst@localhost/trading",
    "postgresql://postgres:@/trading?host=/run/postgresql",
    "postgresql://%2Frun%2Fpostgresql/trading",
    "unix:///run/opend.sock",
    "http+unix://%2Frun%2Fsimulator.sock/v2",
    "/run/opend.sock",
]
ELSEWHERE = [
    "",
    "https://paper-api.alpaca.markets",
    "http://127.evil.com",
    "http://127.0.0.1.evil.com",
    "http://localhost.evil.com",
    "http://evil-localhost",
    "http://localhost.",
    "http://127.0.0.1@evil.com",
    "http://localhost:80@evil.com/",
    "http://evil.com#@127.0.0.1",
    "http://evil.com?host=127.0.0.1",
    "http://127.0.0.1\\@evil.com",
    "http://0.0.0.0",
    "http://10.0.0.1",
    "http://[fe80::1%25lo]",
    "http://[::1",
    "http://2130706433",
    "http://127.1",
    "//evil.com/x",
    "unix://evil.com/x",
    "postgresql://127.0.0.1/trading?host=evil.com",
    "postgresql://127.0.0.1/trading?host=/run/postgresql,evil.com",
    "postgresql://127.0.0.1/trading?hostaddr=10.0.0.1",
    "postgresql://127.0.0.1,evil.com/trading",
    "http://127.0.0.1 evil.com",
]


@pytest.mark.parametrize("endpoint", LOCAL)
def test_an_address_on_this_machine_is_loopback(endpoint: str) -> None:
    assert is_loopback(endpoint)


@pytest.mark.parametrize("endpoint", ELSEWHERE)
def test_any_other_address_is_not(endpoint: str) -> None:
    assert not is_loopback(endpoint)


def test_on_the_paper_exchange_the_stand_in_may_decide() -> None:
    refuse_unless_rehearsal(PAPER, ())


def test_with_a_real_broker_it_may_decide_against_simulators_on_this_machine() -> None:
    refuse_unless_rehearsal(REAL, LOCAL)


@pytest.mark.parametrize("endpoint", ELSEWHERE)
def test_with_a_real_broker_one_address_elsewhere_is_enough_to_refuse(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="not on loopback"):
        refuse_unless_rehearsal(REAL, ["127.0.0.1", endpoint])


def test_with_a_real_broker_an_address_that_is_not_named_is_not_believed() -> None:
    with pytest.raises(ConfigError, match="not named"):
        refuse_unless_rehearsal(REAL, ())
