import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from shared import yaml_positions
from shared.config import Configuration, Settings
from shared.config_brokers import AlpacaSettings
from shared.config_file import SettingsCheck, agents, config_hash, load, settings_of
from shared.environment import (
    agent_name,
    environment_notices,
    read_environment,
    secret_values,
)
from shared.errors import ConfigError
from shared.redaction import redactor

PROJECT = Path(__file__).resolve().parents[2]
COMPLETE = (PROJECT / "config" / "rehearsal.yaml").read_text("utf-8")
PASSWORD = "hunter2/with@signs"  # noqa: S105 (nobody's)
URL = "postgresql://agent:hunter2%2Fwith%40signs@db.example.com:5432/trading"
URLS = {"T_DATABASE_URL": URL, "R_DATABASE_URL": URL}
DEV_URLS = {"AGENT_ID": "dev_claude", "DEV_DATABASE_URL": URL, "RESEARCH_DATABASE_URL": URL}
ALPACA = {
    "AGENT_ID": "small",
    "ALPACA_API_KEY": "PK0123456789ABCDEF",
    "ALPACA_SECRET_KEY": "secret-of-alpaca",
}
MINIMAL = """\
agent: {id: small}
market: {exchange: XNYS, currency: USD}
broker: {name: paper}
database: {kind: embedded}
limits: {currency: USD, max_positions: 3, max_position_value: 0.1, daily_loss_limit: 2000}
rehearsal: {}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "small.yaml").write_text(MINIMAL)
    return tmp_path


def loaded(project: Path, text: str, environ: Mapping[str, str] | None = None) -> Configuration:
    path = project / "given.yaml"
    path.write_text(text)
    return load(path, environ or {}, project=project)


def complaints(
    project: Path,
    text: str | bytes,
    environ: Mapping[str, str] | None = None,
    checks: Sequence[SettingsCheck] = (),
) -> list[str]:
    path = project / "given.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {}, project=project, checks=checks)
    assert caught.value.problems
    return [str(problem) for problem in caught.value.problems]


def changed(old: str, new: str, text: str = MINIMAL) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


def test_the_rehearsal_loads_by_name_with_what_its_file_says() -> None:
    configuration = load("rehearsal", {}, project=PROJECT)

    assert configuration.settings.limits.max_positions == 15
    assert configuration.settings.limits.max_position_value == Decimal(5000)
    assert configuration.source == PROJECT / "config" / "rehearsal.yaml"


def test_the_rehearsal_file_names_every_setting_and_leaves_the_defaults() -> None:
    written = yaml.safe_load(COMPLETE)
    settings = load("rehearsal", {}, project=PROJECT).settings
    needless = {"database": {"trading_url_env", "research_url_env"}, "broker": {"alpaca", "moomoo"}}

    for section, values in settings.model_dump().items():
        assert set(written[section]) == set(values) - needless.get(section, set())
    least = loaded_minimal_like_rehearsal()
    assert settings == least


def loaded_minimal_like_rehearsal() -> Settings:
    """Give only what has no default."""
    return Settings.model_validate(
        {
            "agent": {"id": "rehearsal"},
            "market": {"exchange": "XNYS", "currency": "USD"},
            "broker": {"name": "paper"},
            "database": {"kind": "embedded"},
            "limits": {
                "currency": "USD",
                "max_positions": 15,
                "max_position_value": Decimal(5000),
                "daily_loss_limit": Decimal(2000),
            },
            "rehearsal": {},
        }
    )


def test_a_decimal_keeps_the_digits_that_were_written(project: Path) -> None:
    value = loaded(project, MINIMAL).settings.limits.max_position_value

    assert str(value) == "0.1"


@given(st.decimals(min_value="0.000001", max_value="999999999999", allow_nan=False, places=12))
def test_any_decimal_arrives_as_it_was_written(value: Decimal) -> None:
    document = yaml_positions.parse(f"a: {value:f}")

    assert document.data == {"a": value}
    assert not document.mistakes


def test_a_misspelt_setting_is_shown_with_its_line_and_what_was_meant(project: Path) -> None:
    text = changed("  max_positions: 15 ", "  max_postions: 15 ", COMPLETE)
    line = next(at for at, said in enumerate(text.splitlines(), 1) if "max_postions" in said)

    assert complaints(project, text) == [
        f"given.yaml:{line}: max_postions is not a setting of limits (did you mean max_positions?)"
    ]


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("XNYS", "XNSY", 2, "must be XNYS or XHKG, was 'XNSY' (did you mean XNYS?)"),
        (
            "name: paper",
            "name: papr",
            3,
            "must be paper or alpaca or moomoo, was 'papr' (did you mean paper?)",
        ),
        ("name: paper", "name: kraken", 3, "was 'kraken' (one of paper, alpaca, moomoo)"),
        ("name: paper", "name: alpaca", 3, "broker.alpaca is missing (add `alpaca: {}`"),
        ("{name: paper}", "{name: paper, alpaca: {}}", 3, "broker.alpaca belongs to Alpaca"),
        ("positions: 3", "positions: three", 5, "must be a whole number, was 'three'"),
        ("positions: 3", 'positions: "3"', 5, "must be a whole number, was '3'"),
        ("positions: 3", "positions: true", 5, "must be a whole number, was true"),
        ("positions: 3", "positions: 2.5", 5, "must be a whole number, was 2.5"),
        ("positions: 3", "positions: -1", 5, "must be 0 or more, was -1"),
        ("positions: 3", "positions: 010", 5, "must be a plain finite number, was 010"),
        ("positions: 3", "positions: 1:30", 5, "must be a plain finite number, was 1:30"),
        ("positions: 3", "positions:", 5, "must be a whole number, was nothing"),
        ("positions: 3", "positions: [3]", 5, "must be a whole number, was a list"),
        ("value: 0.1", "value: yes", 5, "must be a number, was true"),
        ("value: 0.1", "value: '0.1'", 5, "must be a number, was '0.1'"),
        ("value: 0.1", "value: .inf", 5, "must be a plain finite number, was .inf"),
        ("value: 0.1", "value: -.INF", 5, "must be a plain finite number, was -.INF"),
        ("value: 0.1", "value: .nan", 5, "must be a plain finite number, was .nan"),
        ("value: 0.1", "value: 0", 5, "must be more than 0, was 0"),
        ("small", "7", 1, "agent.id must be text, was 7 (put it in quotes)"),
        ("small", "Small", 1, "agent.id must be written as ^[a-z]"),
        ("currency: USD, ", "", 5, "limits.currency is missing (text: Currency of every amount"),
        (
            "{currency: USD, max",
            "{currency: HKD, max",
            5,
            "must equal market.currency, USD, was HKD",
        ),
        (
            "market: {exchange: XNYS, currency: USD}",
            "market:",
            2,
            "a section of settings, was nothing",
        ),
        ("{name: paper}", "{name: paper, environment: live}", 3, "live trading is refused"),
        ("rehearsal: {}", "", 3, "the section rehearsal is missing (add `rehearsal: {}`"),
        ("rehearsal: {}", "rehearsal: {first_session: 2026-02-30}", 6, "must be a date"),
        ("rehearsal: {}", "rehearsal: {symbols: 201}", 6, "must be 200 or less, was 201"),
        ("rehearsal: {}", "rehersal: {}", 6, "did you mean rehearsal?"),
        (
            "rehearsal: {}",
            "rehearsal: {}\nlocks: {longest_run_seconds: 330}",
            7,
            "locks.longest_run_seconds must be more than the 330 that Claude may take, was 330",
        ),
        (
            "rehearsal: {}",
            "rehearsal: {}\nlocks: {longest_run_seconds_by_mode: {trade: 60}}",
            7,
            "locks.longest_run_seconds_by_mode.trade must be more than the 330",
        ),
        (
            "rehearsal: {}",
            "rehearsal: {}\nlocks: {longest_run_seconds_by_mode: {trad: 900}}",
            7,
            "did you mean trade",
        ),
        (
            "rehearsal: {}",
            "rehearsal: {}\nlocks: {longest_run_seconds_by_mode: {close: 599}}",
            7,
            "locks.longest_run_seconds_by_mode.close must be at least the 600 from the close",
        ),
        (
            "rehearsal: {}",
            "rehearsal: {}\nschedule: {close_minutes_before_close: 13}",
            1,
            "locks.longest_run_seconds_by_mode.close must be at least the 780 from the close",
        ),
        (
            "rehearsal: {}",
            "rehearsal: {}\nschedule: {close_minutes_before_close: 1}",
            7,
            "must leave the close time to look again, at most 45, was 60",
        ),
        ("embedded", "url", 4, "database.trading_url_env is missing, and database.kind is url"),
        ("embedded", "embedded, trading_url_env: A_URL", 4, "no use with an embedded database"),
        ("embedded", f"url, trading_url_env: '{URL}'", 4, "the secret itself into .env"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_with_its_line(
    project: Path, old: str, new: str, line: int, said: str
) -> None:
    found = complaints(project, changed(old, new), {"AGENT_ID": "small"})

    assert any(text.startswith(f"given.yaml:{line}: ") and said in text for text in found), found
    assert not any("hunter2" in text for text in found)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "the file is empty"),
        ("# nothing\n", 1, "the file is empty"),
        ("just words", 1, "must hold settings"),
        ("- a\n- b", 1, "must hold settings"),
        ("a: 1\n\tb: 2", 2, "use spaces, not tabs"),
        ("a: 1\nb: [1", 2, "not valid YAML"),
        ("a: 1\nb: 2\na: 3", 3, "a is given twice, first on line 1"),
        ("a:\n  b: 1\n  b: 2", 3, "b is given twice, first on line 2"),
        ("a: &x [1]\nb: [*x, *x]", 1, "anchors and aliases"),
        ("<<: {a: 1}", 1, "a plain word"),
        ("? [a]\n: 1", 1, "a plain word"),
        ("a: !!python/object:os.system x", 1, "tags"),
        ("a: 1\n---\nb: 1", 2, "one document"),
        ("[" * 50_000, 1, "nested more than 20 deep"),
        ("a: x" * 60_000, 1, "longer than 200000 characters"),
        ("a: \x01", 1, "characters that YAML does not allow"),
        (b"agent:\n  id: \xff", 2, "not UTF-8"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_broken_file_is_refused_with_its_line(
    project: Path, text: str | bytes, line: int, said: str
) -> None:
    found = complaints(project, text)

    assert any(words.startswith(f"given.yaml:{line}: ") and said in words for words in found)


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_no_text_at_all_makes_the_reader_fail(text: str) -> None:
    document = yaml_positions.parse(text)

    assert all(mistake.line >= 1 for mistake in document.mistakes)


def test_every_problem_is_said_at_once_and_in_the_order_of_the_file(project: Path) -> None:
    text = changed("small}", "small, rolle: x}").replace("XNYS", "X").replace("0.1", ".inf")
    text = text.replace("positions: 3", "positions: 3, price_collar_pct: 101") + "agent: {}\n"

    def floors(settings: Settings) -> Sequence[tuple[tuple[str, ...], str]]:
        return (
            (("limits", "max_positions"), f"too many: {settings.limits.max_positions}"),
            (("limits", "max_position_value"), "judged though it could not be read"),
            (("limits", "price_collar_pct"), "judged though it was out of range"),
        )

    found = complaints(project, text, {"PAPER_TRADING": "false"}, (floors,))

    assert [line.split(": ")[0] for line in found] == [
        "given.yaml:1",
        "given.yaml:2",
        "given.yaml:5",
        "given.yaml:5",
        "given.yaml:5",
        "given.yaml:7",
        "PAPER_TRADING",
    ]
    assert any("too many: 3" in line for line in found)
    assert not any("judged" in line for line in found)


def test_checks_of_others_are_asked_even_when_a_needed_section_is_missing(project: Path) -> None:
    text = changed("market: {exchange: XNYS, currency: USD}\n", "")
    found = complaints(project, text, {}, (lambda _: ((("claude", "model"), "no such model"),),))

    assert any("no such model" in line for line in found)
    assert any("market is missing (a section with exchange, currency" in line for line in found)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PAPER_TRADING", "false"),
        ("PAPER_TRADING", "0"),
        ("PAPER_TRADING", "flase"),
        ("TRADING_MODE", "live"),
        ("TRADING_MODE", " LIVE "),
        ("ALPACA_BASE_URL", "https://api.alpaca.markets"),
        ("ALPACA_BASE_URL", "https://API.alpaca.markets./v2"),
        ("ALPACA_BASE_URL", "api.alpaca.markets"),
        ("ALPACA_BASE_URL", "https://paper-api.alpaca.markets@api.alpaca.markets/"),
        ("ALPACA_BASE_URL", "https://[broken"),
    ],
)
def test_live_trading_is_refused_whichever_way_it_is_asked_for(
    project: Path, variable: str, value: str
) -> None:
    [found] = complaints(project, MINIMAL, {variable: value})

    assert found.startswith(f"{variable}: live trading is refused: ")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PAPER_TRADING", "True"),
        ("TRADING_MODE", "paper"),
        ("TRADING_MODE", "sandbox"),
        ("TRADING_MODE", "Production"),
        ("ALPACA_BASE_URL", "https://paper-api.alpaca.markets/v2"),
        ("ALPACA_BASE_URL", "http://127.0.0.1:8080"),
        ("TRADING_MODE", ""),
    ],
)
def test_paper_trading_is_what_it_says(project: Path, variable: str, value: str) -> None:
    assert loaded(project, MINIMAL, {variable: value})


@pytest.mark.parametrize(
    ("signals", "complaint"),
    [
        ("{stop_loss_pct: 1.5}", "signals.stop_loss_near_pct must not be above signals.stop_loss_"),
        ("{rsi_healthy_to: 71}", "signals.rsi_healthy_to must not be above signals.rsi_weak, 70"),
        ("{volume_dying_pct: 41}", "signals.volume_dying_pct must not be above signals.volume_w"),
        ("{minutes_to_close: 31}", "signals.minutes_to_close must not be above"),
        ("{stop_loss_pct: 0.03}", "signals.stop_loss_pct must be 0.1 or more, was 0.03"),
        ("{stop_loss_pct: 11}", "signals.stop_loss_pct must be 10 or less, was 11"),
        ("{trailing_stop_pct: 11}", "signals.trailing_stop_pct must be 10 or less, was 11"),
    ],
)
def test_the_rungs_of_a_signal_stand_in_order_and_are_percentages(
    project: Path, signals: str, complaint: str
) -> None:
    [said] = complaints(project, f"{MINIMAL}signals: {signals}\n")

    assert complaint in said
    assert said.startswith("given.yaml:7: ")


@pytest.mark.parametrize(
    "signals",
    [
        *(f"stop_loss_pct: {value}, trailing_stop_pct: {value}" for value in (2, 3, 4)),
        *(f"rsi_overbought: {value}" for value in (75, 80, 85)),
        *(f"volume_dying_pct: {value}" for value in (20, 30, 40)),
    ],
)
def test_the_experiments_of_new_york_are_settings_that_load(project: Path, signals: str) -> None:
    assert loaded(project, f"{MINIMAL}signals: {{{signals}}}\n").settings.signals


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://gateway.example/v1", True),
        ("http://127.0.0.1:8080", True),
        ("http://localhost", True),
        ("http://gateway.example", False),
        ("http://127.0.0.1.example", False),
        ("gateway.example", False),
    ],
)
def test_the_key_for_claude_does_not_travel_in_clear(project: Path, url: str, fine: bool) -> None:
    environ = {"ANTHROPIC_BASE_URL": url}
    if fine:
        assert loaded(project, MINIMAL, environ)
        return
    [found] = complaints(project, MINIMAL, environ)

    assert found.startswith("ANTHROPIC_BASE_URL: it must begin with https://")


WITH_ALPACA = """\
agent: {id: small}
market: {exchange: XNYS, currency: USD}
broker:
  name: alpaca
  alpaca: {feed: iex}
database: {kind: url, trading_url_env: T_DATABASE_URL, research_url_env: R_DATABASE_URL}
limits: {currency: USD, max_positions: 3, max_position_value: 0.1, daily_loss_limit: 2000}
"""


def test_the_sandbox_has_the_limits_and_the_experiments_of_its_plan() -> None:
    configuration = load("dev_claude", ALPACA | DEV_URLS, project=PROJECT)
    settings = configuration.settings

    assert (settings.agent.role, settings.market.exchange) == ("sandbox_trader", "XNYS")
    assert settings.limits.max_positions == 15
    assert settings.limits.max_position_value == Decimal(5000)
    assert settings.limits.daily_loss_limit == Decimal(2000)
    assert (settings.signals.stop_loss_pct, settings.signals.trailing_stop_pct) == (3, 3)
    assert (settings.signals.rsi_overbought, settings.signals.volume_dying_pct) == (80, 30)
    assert settings.claude.daily_budget_usd == Decimal(5)
    assert settings.broker.alpaca is not None
    assert settings.broker.alpaca.feed == "iex"


def test_the_file_of_the_sandbox_names_every_setting(project: Path) -> None:
    written = yaml.safe_load((PROJECT / "config" / "dev_claude.yaml").read_text("utf-8"))
    settings = load("dev_claude", ALPACA | DEV_URLS, project=PROJECT).settings
    for_others = {"broker": {"starting_cash", "volume_share_pct", "moomoo"}}

    for section, values in settings.model_dump(exclude={"rehearsal"}).items():
        assert set(written[section]) == set(values) - for_others.get(section, set())
    assert set(written["broker"]["alpaca"]) == set(AlpacaSettings.model_fields)


def test_what_the_sandbox_lacks_is_named_each_with_its_variable(project: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load("dev_claude", {}, project=PROJECT)

    assert [problem.where for problem in caught.value.problems] == [
        "ALPACA_API_KEY",
        "ALPACA_SECRET_KEY",
        "DEV_DATABASE_URL",
        "RESEARCH_DATABASE_URL",
        "AGENT_ID",
    ]


def test_what_a_file_says_can_be_read_without_its_variables(project: Path) -> None:
    assert settings_of("dev_claude", project=PROJECT).schedule.trade_every_minutes == 60

    (project / "config" / "small.yaml").write_text(MINIMAL.replace("USD, max", "HKD, max"))
    with pytest.raises(ConfigError, match=r"small\.yaml:5: .*must equal market\.currency"):
        settings_of("small", project=project)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("trading_url: https://api.alpaca.markets", "live trading is refused: the host of broker."),
        ("trading_url: https://api.alpaca.markets/v2", "live trading is refused"),
        ("trading_url: 'https://paper-api.alpaca.markets@evil.example'", "was 'evil.example'"),
        ("trading_url: http://paper-api.alpaca.markets", "must be https://HOST without a path"),
        ("trading_url: https://paper-api.alpaca.markets/v2", "must be https://HOST without a path"),
        ("trading_url: 'https://paper-api.alpaca.markets:x'", "must be https://HOST"),
        ("trading_url: paper-api.alpaca.markets", "must be https://HOST without a path"),
        ("data_url: https://data.example.com", "must be data.alpaca.markets, was 'data.example"),
        ("data_url: http://data.alpaca.markets", "broker.alpaca.data_url must be https://HOST"),
        ("feed: otc", "must be iex or sip, was 'otc'"),
        ("requests_per_minute: {cycle: 150}", "may be 200 together, were 230"),
        ("api_key_env: PKABCDEF01 23", "the name of a variable belongs here"),
        ("call_timeout_seconds: 0", "must be more than 0.0, was 0"),
    ],
)
def test_what_is_wrong_about_alpaca_is_said_with_its_line(
    project: Path, setting: str, said: str
) -> None:
    text = changed("feed: iex", setting, WITH_ALPACA)

    [found] = complaints(project, text, ALPACA | URLS)

    assert found.startswith("given.yaml:5: ")
    assert said in found
    assert "PKABC" not in found


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:80"])
def test_a_simulator_on_this_machine_may_stand_for_alpaca(project: Path, url: str) -> None:
    text = changed("feed: iex", f"trading_url: '{url}', data_url: '{url}'", WITH_ALPACA)

    assert loaded(project, text, ALPACA | URLS)


def test_a_simulator_on_this_machine_can_be_named_by_the_environment(project: Path) -> None:
    url = "http://127.0.0.1:8765"
    asked = loaded(project, WITH_ALPACA, {**ALPACA, **URLS, "ALPACA_BASE_URL": url})
    theirs = {"ALPACA_BASE_URL": "https://paper-api.alpaca.markets"}

    assert asked.secrets.alpaca_simulator_url == url
    assert loaded(project, WITH_ALPACA, ALPACA | URLS | theirs).secrets.alpaca_simulator_url is None


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"ALPACA_API_KEY": "AKHUNTER2HUNTER2"}, "ALPACA_API_KEY: live trading is refused"),
        ({"ALPACA_API_KEY": " akhunter2hunter2"}, "ALPACA_API_KEY: live trading is refused"),
        ({"ALPACA_SECRET_KEY": " "}, "ALPACA_SECRET_KEY: it is not set"),
        ({"ALPACA_BASE_URL": "http://127.0.0.1:5/v2"}, "ALPACA_BASE_URL: it must be left out, "),
    ],
)
def test_keys_that_are_not_those_of_a_paper_account_stop_the_start(
    project: Path, environ: Mapping[str, str], said: str
) -> None:
    [found] = complaints(project, WITH_ALPACA, {**ALPACA, **URLS, **environ})

    assert found.startswith(said)
    assert "hunter2" not in found.lower()


def test_the_keys_of_alpaca_are_secrets(project: Path) -> None:
    environ = ALPACA | URLS
    configuration = loaded(project, WITH_ALPACA, environ)

    assert {"PK0123456789ABCDEF", "secret-of-alpaca"} <= set(secret_values(configuration, environ))
    assert "secret-of-alpaca" not in repr(configuration)


WITH_URLS = changed(
    "kind: embedded", "kind: url, trading_url_env: T_DATABASE_URL, research_url_env: R_DATABASE_URL"
)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        (URLS, ["AGENT_ID: it must be set to small: only a rehearsal runs without it"]),
        (URLS | {"AGENT_ID": "other"}, ["AGENT_ID: it must equal agent.id, small, was other"]),
        (URLS | {"AGENT_ID": "small", "R_DATABASE_URL": ""}, ["R_DATABASE_URL: it is not set"]),
        ({"AGENT_ID": "small"}, ["T_DATABASE_URL: it is not set", "R_DATABASE_URL: it is not set"]),
        (
            URLS | {"AGENT_ID": "small", "T_DATABASE_URL": "mysql://u:hunter2@h/d"},
            ["T_DATABASE_URL: it holds no PostgreSQL URL"],
        ),
    ],
)
def test_an_agent_with_a_database_starts_only_with_its_id_and_its_urls(
    project: Path, environ: Mapping[str, str], said: Sequence[str]
) -> None:
    found = complaints(project, WITH_URLS, environ)

    assert len(found) == len(said)
    assert all(line.startswith(start) for line, start in zip(found, said, strict=True))
    assert not any("hunter2" in line for line in found)


def test_an_agent_with_a_database_starts_when_everything_is_given(project: Path) -> None:
    configuration = loaded(project, WITH_URLS, URLS | {"AGENT_ID": "small"})
    url = configuration.secrets.trading_database_url

    assert url is not None
    assert url.get_secret_value() == URL


def test_an_unknown_agent_is_told_which_there_are(project: Path) -> None:
    (project / "config" / "models.yaml").write_text("prices: {}")
    with pytest.raises(ConfigError, match=r"no agent 'smal' in config/ \(did you mean small\?"):
        load("smal", {}, project=project)
    with pytest.raises(ConfigError, match=r"no agent 'models' in config/ \(there are: small\)"):
        load("models", {}, project=project)
    assert agents(project) == ("small",)


def test_a_file_copied_from_another_agent_is_refused(project: Path) -> None:
    (project / "config" / "copy.yaml").write_text(MINIMAL)

    with pytest.raises(
        ConfigError, match=r"config/copy.yaml:1: agent.id must equal .* copy, was small"
    ):
        load("copy", {}, project=project)


def test_a_file_that_cannot_be_read_is_said(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: it cannot be read: No such file"):
        load("gone.yaml", {}, project=project)


def test_the_hash_is_of_the_settings_and_of_nothing_else(project: Path) -> None:
    plain = loaded(project, MINIMAL).config_hash
    with_key = loaded(project, f"# other words\n{MINIMAL}", {"ANTHROPIC_API_KEY": "sk-ant-1"})
    same_number = loaded(project, changed("0.1,", "0.10,"))

    assert with_key.config_hash == plain == same_number.config_hash
    assert loaded(project, changed("0.1,", "0.11,")).config_hash != plain
    assert len(plain) == 64
    assert config_hash(with_key.settings) == plain


def test_no_secret_is_shown_by_a_configuration(project: Path) -> None:
    environ = URLS | {"AGENT_ID": "small", "ANTHROPIC_API_KEY": " sk-ant-verysecret\n"}
    configuration = loaded(project, WITH_URLS, environ)
    shown = f"{configuration} {configuration!r} {configuration.model_dump_json()}"
    key = configuration.secrets.anthropic_api_key

    assert key is not None
    assert key.get_secret_value() == "sk-ant-verysecret"
    assert "verysecret" not in shown
    assert "hunter2" not in shown


def test_every_value_to_keep_out_of_the_log_is_listed(project: Path) -> None:
    environ = URLS | {
        "AGENT_ID": "small",
        "ANTHROPIC_API_KEY": "sk-ant-verysecret",
        "SMTP_PASSWORD": "mail-password",
        "ALPACA_SECRET_KEY": "alpaca-secret",
        "PGPASSWORD": "postgres-password",
        "OTHER": "https://me:token-in-url@example.com/x",
        "SOME_KEY": "true",
        "HOME": "/home/somebody",
    }
    values = secret_values(loaded(project, WITH_URLS, environ), environ)

    assert set(values) == {
        "hunter2%2Fwith%40signs",
        PASSWORD,
        "sk-ant-verysecret",
        "mail-password",
        "alpaca-secret",
        "postgres-password",
        "token-in-url",
    }


def test_the_keys_inside_notification_urls_are_secret_and_their_hosts_are_not(
    project: Path,
) -> None:
    environ = {
        "APPRISE_URLS": "tgram://123456789:AAaa_bbbb-cccc/-1001234567890 ntfys://ntfy.example.com/t",
        "PING_URL": "https://health.example.com/0f8fad5b-d9cb-469f-a165-70867728950e",
        "SMTP_HOST": "mail.example.com",
        "SMTP_PORT": "2525",
        "ALERT_EMAIL": "person@example.com",
    }
    hidden = redactor(secret_values(loaded(project, MINIMAL, environ), environ))

    assert hidden("bot AAaa_bbbb-cccc in -1001234567890") == "bot [redacted] in [redacted]"
    assert hidden("/0f8fad5b-d9cb-469f-a165-70867728950e/fail") == "/[redacted]/fail"
    for harmless in ("ntfy.example.com", "health.example.com", *list(environ.values())[2:]):
        assert hidden(harmless) == harmless


def test_a_secret_typed_into_the_file_is_not_repeated(project: Path) -> None:
    text = changed("{name: paper}", "{name: my-secret-value, key: sk-ant-abcdefgh}")
    found = complaints(project, text, {"ALPACA_SECRET_KEY": "my-secret-value"})

    assert not any("my-secret-value" in line or "sk-ant" in line for line in found)


def test_the_env_file_lies_under_the_real_environment(project: Path) -> None:
    (project / ".env").write_text("A=file\nexport B='quoted $C ${C}'  # words\n\nC=\n")
    environment = read_environment(project, {"A": "real"})

    assert environment == {"A": "real", "B": "quoted $C ${C}", "C": ""}
    assert read_environment(project / "nowhere", {"A": "1"}) == {"A": "1"}


def test_an_env_file_that_cannot_be_read_is_said_with_its_lines_and_without_values(
    project: Path,
) -> None:
    (project / ".env").write_text("A=1\n\nhunter2 alone\nA=hunter2\nB='open\nC=2")
    with pytest.raises(ConfigError) as caught:
        read_environment(project, {})
    lines = str(caught.value).splitlines()

    assert [line.partition(".env:")[2].split(":")[0] for line in lines] == ["3", "4", "5"]
    assert "A is set twice, first on line 1" in lines[1]
    assert "hunter2" not in str(caught.value)


def test_an_env_file_in_another_encoding_is_said(project: Path) -> None:
    (project / ".env").write_bytes(b"A=\xff")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 2"):
        read_environment(project, {})


def test_an_env_file_that_others_can_read_is_worth_a_notice(project: Path) -> None:
    path = project / ".env"
    path.write_text("A=1")
    path.chmod(0o640)
    [notice] = environment_notices(project)
    path.chmod(0o600)

    assert "chmod 600" in notice
    assert environment_notices(project) == ()
    assert environment_notices(project / "nowhere") == ()


@pytest.mark.parametrize(
    ("argument", "given", "name"),
    [
        (None, None, "rehearsal"),
        (None, "", "rehearsal"),
        (None, "dev_claude", "dev_claude"),
        ("dev_claude", None, "dev_claude"),
        ("dev_claude", "dev_claude", "dev_claude"),
        ("rehearsal", "dev_claude", "rehearsal"),
    ],
)
def test_the_agent_is_the_one_named(argument: str | None, given: str | None, name: str) -> None:
    assert agent_name(argument, {} if given is None else {"AGENT_ID": given}) == name


def test_two_different_names_are_a_mistake() -> None:
    with pytest.raises(ConfigError, match="--agent is intl_claude, and AGENT_ID is dev_claude"):
        agent_name("intl_claude", {"AGENT_ID": "dev_claude"})


def test_the_example_environment_can_be_copied_as_it_is(project: Path) -> None:
    text = (PROJECT / "config" / "example.env").read_text("utf-8")
    (project / ".env").write_text(text)
    uncommented = re.sub(r"^#(?=[A-Z_]+=)", "", text, flags=re.MULTILINE)

    assert read_environment(project, {}) == {}
    (project / ".env").write_text(uncommented)
    assert set(read_environment(project, {})) == {
        "AGENT_ID",
        "ANTHROPIC_API_KEY",
        "ALPACA_BASE_URL",
        "ANTHROPIC_BASE_URL",
        "ALPACA_API_KEY",
        "ALPACA_SECRET_KEY",
        "DEV_DATABASE_URL",
        "INTL_DATABASE_URL",
        "MOOMOO_HOST",
        "MOOMOO_PORT",
        "MOOMOO_RSA_KEY_FILE",
        "MOOMOO_SIMULATOR",
        "RESEARCH_DATABASE_URL",
        "PAPER_TRADING",
        "TRADING_MODE",
        "ALERT_EMAIL",
        "SMTP_HOST",
        "SMTP_TLS",
        "SMTP_PORT",
        "SMTP_USER",
        "SMTP_PASSWORD",
        "SMTP_FROM",
        "APPRISE_URLS",
        "PING_URL",
    }
