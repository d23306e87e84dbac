"""The settings of an agent on moomoo: the file of intl_claude, and what is refused about it."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from entry_point import CHECKS
from shared.config import Configuration
from shared.config_brokers import BrokerName, MoomooSettings, OpenDShares
from shared.config_file import load, settings_of
from shared.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[2]
TEXT = (PROJECT / "config" / "intl_claude.yaml").read_text("utf-8")
URL = "postgresql://agent@db.example.com:5432/trading"
ENVIRON = {"AGENT_ID": "intl_claude", "INTL_DATABASE_URL": URL, "RESEARCH_DATABASE_URL": URL}


def loaded(tmp_path: Path, *changes: tuple[str, str], **environ: str) -> Configuration:
    text = TEXT
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = tmp_path / "intl_claude.yaml"
    path.write_text(text)
    return load(path, ENVIRON | environ, project=tmp_path, checks=CHECKS)


def complaints(tmp_path: Path, *changes: tuple[str, str], **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, *changes, **environ)
    return "\n".join(map(str, caught.value.problems))


def test_production_has_the_limits_of_its_plan() -> None:
    settings = settings_of("intl_claude", project=PROJECT, checks=CHECKS)

    assert (settings.agent.role, settings.broker.name) == ("production_trader", BrokerName.MOOMOO)
    assert (settings.market.exchange, settings.market.currency) == ("XHKG", "HKD")
    assert settings.limits.max_positions == 5
    assert settings.limits.max_position_value == Decimal(40_000)
    assert settings.limits.daily_loss_limit == Decimal(16_000)
    assert (settings.signals.stop_loss_pct, settings.signals.trailing_stop_pct) == (3, 3)
    assert (settings.signals.rsi_overbought, settings.signals.volume_dying_pct) == (85, 25)
    assert settings.claude.daily_budget_usd == Decimal(5)
    assert settings.monitor.check_seconds_without_stops == 15
    assert settings.monitor.entries_need_a_check_within_seconds == 60
    assert settings.monitor.silence_alarm_seconds == 150


def test_its_file_names_every_setting() -> None:
    written = yaml.safe_load(TEXT)
    settings = settings_of("intl_claude", project=PROJECT)
    for_others = {"broker": {"starting_cash", "volume_share_pct", "alpaca"}}

    for section, values in settings.model_dump(exclude={"rehearsal"}).items():
        assert set(written[section]) == set(values) - for_others.get(section, set())
    assert set(written["broker"]["moomoo"]) == set(MoomooSettings.model_fields)
    assert set(written["broker"]["moomoo"]["shares"]) == set(OpenDShares.model_fields)


def test_every_listed_symbol_is_spelt_as_the_exchange_does() -> None:
    indices = settings_of("intl_claude", project=PROJECT).market.indices
    listed = [symbol for symbols in indices.values() for symbol in symbols]

    assert all(len(symbol) == 4 and symbol.isdecimal() for symbol in listed)
    assert all(len(set(symbols)) == len(symbols) for symbols in indices.values())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("environment: paper  ", "environment: real  ", "live trading is refused"),
        ("  currency: HKD                # of the", "  currency: USD #", "HKD, not in USD"),
        (
            "  currency: HKD                # of every",
            "  currency: USD #",
            "must equal market.curre",
        ),
        ("exchange: XHKG", "exchange: XNYS", "moomoo trades in Hong Kong here"),
        ("port: 11111 ", "port: 0 ", "broker.moomoo.port must be 1 or more"),
        ("account_id: null", "account_id: '12a'", "broker.moomoo.account_id"),
        ("account_id: null", "account_id: 12", "broker.moomoo.account_id"),
        ("cycle_pct: 55", "cycle_pct: 56", "may be 100 per cent together, were 101"),
        ("host: 127.0.0.1", "host: 10.0.0.5", "10.0.0.5, is spoken to in clear unless"),
        ("within_seconds: 60 ", "within_seconds: null ", "the position monitor is the stop"),
        ("name: moomoo", "name: moomo", "did you mean moomoo?"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    found = complaints(tmp_path, (old, new))

    assert "intl_claude.yaml:" in found
    assert said in found


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"MOOMOO_PORT": "http"}, "MOOMOO_PORT: it must be a port"),
        ({"MOOMOO_PORT": "70000"}, "MOOMOO_PORT: it must be a port"),
        ({"MOOMOO_HOST": "opend.example.com"}, "opend.example.com, is spoken to in clear"),
        ({"MOOMOO_SIMULATOR": "10.0.0.5:11111"}, "MOOMOO_SIMULATOR: it must be left out, or be"),
        ({"MOOMOO_SIMULATOR": "127.0.0.1"}, "MOOMOO_SIMULATOR: it must be left out, or be"),
        ({"PAPER_TRADING": "false"}, "PAPER_TRADING: live trading is refused"),
        ({"TRADING_MODE": "live"}, "TRADING_MODE: live trading is refused"),
        ({"AGENT_ID": "dev_claude"}, "AGENT_ID: it must equal agent.id"),
    ],
)
def test_what_is_wrong_about_a_variable_is_said_by_its_name(
    tmp_path: Path, environ: Mapping[str, str], said: str
) -> None:
    assert said in complaints(tmp_path, **environ)


def test_where_opend_is_comes_from_the_simulator_the_variables_or_the_file(tmp_path: Path) -> None:
    named = {"MOOMOO_HOST": "localhost", "MOOMOO_PORT": "2222"}

    assert loaded(tmp_path).secrets.opend_address == ("127.0.0.1", 11111)
    assert loaded(tmp_path, **named).secrets.opend_address == ("localhost", 2222)
    simulated = loaded(tmp_path, **named, MOOMOO_SIMULATOR="127.0.0.1:3333").secrets
    assert (simulated.opend_address, simulated.opend_is_simulated) == (("127.0.0.1", 3333), True)


def test_another_machine_may_have_opend_where_both_have_the_key(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        ("host: 127.0.0.1", "host: 10.0.0.5"),
        ("rsa_key_file: null", "rsa_key_file: ~/opend.pem"),
    )

    assert found.secrets.opend_address == ("10.0.0.5", 11111)


def test_where_the_key_is_can_be_said_by_the_environment(tmp_path: Path) -> None:
    named = {"MOOMOO_HOST": "opend.example.com", "MOOMOO_RSA_KEY_FILE": "/etc/opend.pem"}

    assert loaded(tmp_path, **named).secrets.opend_key_file == "/etc/opend.pem"
    assert loaded(tmp_path).secrets.opend_key_file is None


def test_an_agent_of_another_broker_has_no_address(tmp_path: Path) -> None:
    rehearsal = load("rehearsal", {}, project=PROJECT)

    assert rehearsal.secrets.opend_address is None
    path = tmp_path / "r.yaml"
    path.write_text(
        (PROJECT / "config" / "rehearsal.yaml")
        .read_text()
        .replace("  # moomoo: {}  ", "  moomoo: {}  ")
    )
    with pytest.raises(ConfigError, match=r"broker\.moomoo belongs to moomoo"):
        load(path, {}, project=tmp_path)
