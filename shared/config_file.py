"""Turns one agent's YAML file and the environment into a Configuration, or says everything that is wrong.

Nothing is guessed and nothing falls back: a file that is wrong in one place is not used at all.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import cast

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from shared import yaml_positions
from shared.config import Configuration, Secrets, Settings
from shared.config_checks import findings, live_findings, simulator_url
from shared.config_checks_opend import opend_address, opend_key_file, simulator_address
from shared.config_finding import Finding
from shared.config_sentences import meant, sentence
from shared.environment import secrets_in
from shared.errors import ConfigError, Problem
from shared.redaction import redactor
from shared.yaml_positions import Document, KeyPath

NOT_AGENTS = frozenset({"models"})
"""YAML files in config/ that describe something else."""

SettingsCheck = Callable[[Settings], Sequence[tuple[KeyPath, str]]]
"""A further check by another module: (path of the setting, sentence) for everything it finds."""


def load(
    name_or_path: str | Path,
    environ: Mapping[str, str],
    *,
    project: Path,
    checks: Sequence[SettingsCheck] = (),
) -> Configuration:
    """Load an agent by name (config/NAME.yaml) or by the path of its file.

    `environ` is what `read_environment` returned. Raises ConfigError, which lists every problem at once
    with file and line or the variable's name; no secret's value is ever in it.
    """
    source = _source(name_or_path, project)
    document, settings, found = _read(name_or_path, environ, project, checks)
    if found or document.mistakes:
        raise ConfigError(tuple(_problems(found, document, _shown(source, project), environ)))
    return Configuration(
        settings=settings,
        secrets=_secrets(settings, environ),
        source=source,
        config_hash=config_hash(settings),
    )


def settings_of(name: str, *, project: Path, checks: Sequence[SettingsCheck] = ()) -> Settings:
    """Read what an agent's file says, for a machine that does not run it and so lacks its variables.

    Raises ConfigError for everything that is wrong in the file itself.
    """
    source = _source(name, project)
    document, settings, found = _read(name, {}, project, checks)
    in_file = tuple(finding for finding in found if not isinstance(finding.place, str))
    if in_file or document.mistakes:
        raise ConfigError(tuple(_problems(in_file, document, _shown(source, project), {})))
    return settings


def agents(project: Path) -> tuple[str, ...]:
    """Return the names of the agents that have a file, sorted."""
    stems = {path.stem for path in (project / "config").glob("*.yaml")}
    return tuple(sorted(stems - NOT_AGENTS))


def config_hash(settings: Settings) -> str:
    """Return the SHA-256, in hex, of the settings as canonical JSON: equal settings hash equally."""
    text = json.dumps(
        settings.model_dump(), sort_keys=True, separators=(",", ":"), default=_canonical
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: object) -> str:
    return format(value.normalize(), "f") if isinstance(value, Decimal) else str(value)


def _read(
    name_or_path: str | Path,
    environ: Mapping[str, str],
    project: Path,
    checks: Sequence[SettingsCheck],
) -> tuple[Document, Settings, tuple[Finding, ...]]:
    source = _source(name_or_path, project)
    document = yaml_positions.parse(_text(source, project))
    settings, found = _validated(document, environ, checks)
    if str(name_or_path) == source.stem and settings.agent.id != source.stem:
        found = (*found, *_misnamed(settings, source))
    return document, settings, found


def _source(name_or_path: str | Path, project: Path) -> Path:
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text or text.endswith((".yaml", ".yml")):
        return project / name_or_path
    known = agents(project)
    if text in known:
        return project / "config" / f"{text}.yaml"
    guess = meant(text, known)
    hint = f"did you mean {guess}?" if guess else f"there are: {', '.join(known) or 'none'}"
    if guess and len(known) > 1:
        hint += f" There are: {', '.join(known)}"
    raise ConfigError((Problem("--agent", f"there is no agent {text!r} in config/", hint),))


def _text(source: Path, project: Path) -> str:
    where = _shown(source, project)
    try:
        raw = source.read_bytes()
    except OSError as e:
        raise ConfigError((Problem(where, f"it cannot be read: {e.strerror}"),)) from e
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as e:
        line = raw.count(b"\n", 0, e.start) + 1
        problem = Problem(f"{where}:{line}", "this is not UTF-8 text", "save the file as UTF-8")
        raise ConfigError((problem,)) from None


def _validated(
    document: Document, environ: Mapping[str, str], checks: Sequence[SettingsCheck]
) -> tuple[Settings, tuple[Finding, ...]]:
    """Return the settings and all findings; with findings, the settings are only good for checks."""
    if document.mistakes and not document.data:
        return _mended({}, ()), tuple(live_findings(environ))
    errors: list[ErrorDetails] = []
    try:
        settings = Settings.model_validate(document.data)
    except ValidationError as e:
        errors = e.errors(include_url=False)
        settings = _mended(document.data, [error["loc"] for error in errors])
    doubtful = [error["loc"] for error in errors]
    doubtful += [mistake.path for mistake in document.mistakes if mistake.path]

    def is_known(path: KeyPath) -> bool:
        return not any(path[: len(place)] == place for place in doubtful)

    found = (
        *_sentences(errors, document),
        *findings(settings, environ, is_known=is_known),
        *(Finding(at, what) for check in checks for at, what in check(settings) if is_known(at)),
    )
    return settings, found


def _sentences(errors: Iterable[ErrorDetails], document: Document) -> Iterator[Finding]:
    """Say each error once: a name misspelt is not also a name missing, nor is an unreadable number."""
    said = {mistake.path for mistake in document.mistakes}
    spelled = list(errors)
    for error in spelled:
        if error["type"] == "extra_forbidden":
            what, hint = sentence(error, Settings)
            said.add((*error["loc"][:-1], (hint or "").removeprefix("did you mean ").rstrip("?")))
            yield Finding(error["loc"], what, hint)
    for error in spelled:
        if error["type"] != "extra_forbidden" and error["loc"] not in said:
            yield Finding(error["loc"], *sentence(error, Settings))


def _mended(data: Mapping[str, object], wrong: Iterable[KeyPath]) -> Settings:
    """Put placeholders where settings are wrong or missing, so that the others can still be checked."""
    kept = _without(data, tuple(wrong))
    for name, section in _PLACEHOLDERS.items():
        given = kept.get(name)
        kept[name] = {**section, **cast("dict[str, object]", given or {})}
    return Settings.model_validate(kept)


def _without(data: Mapping[str, object], wrong: tuple[KeyPath, ...]) -> dict[str, object]:
    kept: dict[str, object] = {}
    for name, value in data.items():
        inner = tuple(path[1:] for path in wrong if path[:1] == (name,))
        if () in inner:
            continue
        is_section = isinstance(value, dict)
        kept[name] = _without(cast("dict[str, object]", value), inner) if is_section else value
    return kept


_PLACEHOLDERS: dict[str, dict[str, object]] = {
    "agent": {"id": "unknown"},
    "market": {"exchange": "XNYS", "currency": "USD"},
    "broker": {"name": "paper"},
    "database": {"kind": "embedded"},
    "limits": {
        "currency": "USD",
        "max_positions": 1,
        "max_position_value": 1,
        "daily_loss_limit": 1,
    },
}


def _misnamed(settings: Settings, source: Path) -> Iterator[Finding]:
    what = f"agent.id must equal the file's name, {source.stem}, was {settings.agent.id}"
    yield Finding(("agent", "id"), what)


def _problems(
    found: Iterable[Finding], document: Document, file: str, environ: Mapping[str, str]
) -> Iterator[Problem]:
    """Write the findings as problems, those of the file first and by line, without any secret."""
    redact = redactor(secrets_in(environ))
    placed = [(mistake.line, mistake.what, mistake.suggestion) for mistake in document.mistakes]
    variables: list[Problem] = []
    for finding in found:
        hint = finding.suggestion and redact(finding.suggestion)
        if isinstance(finding.place, str):
            variables.append(Problem(finding.place, redact(finding.what), hint))
        else:
            placed.append((document.line(finding.place), finding.what, hint))
    for line, what, hint in sorted(placed, key=lambda problem: problem[0]):
        yield Problem(f"{file}:{line}", redact(what), hint)
    yield from variables


def _shown(path: Path, project: Path) -> str:
    return str(path.relative_to(project) if path.is_relative_to(project) else path)


def _secrets(settings: Settings, environ: Mapping[str, str]) -> Secrets:
    database, alpaca, moomoo = settings.database, settings.broker.alpaca, settings.broker.moomoo

    def given(variable: str) -> str | None:
        return environ.get(variable, "").strip() or None

    def secret(variable: str | None) -> SecretStr | None:
        value = given(variable) if variable else None
        return SecretStr(value) if value else None

    return Secrets(
        anthropic_api_key=secret("ANTHROPIC_API_KEY"),
        anthropic_base_url=secret("ANTHROPIC_BASE_URL"),
        alpaca_api_key=secret(alpaca.api_key_env if alpaca else None),
        alpaca_secret_key=secret(alpaca.secret_key_env if alpaca else None),
        alpaca_simulator_url=simulator_url(environ) if alpaca else None,
        opend_address=opend_address(moomoo, environ) if moomoo else None,
        opend_key_file=opend_key_file(moomoo, environ) if moomoo else None,
        opend_is_simulated=moomoo is not None and simulator_address(environ) is not None,
        trading_database_url=secret(database.trading_url_env),
        research_database_url=secret(database.research_url_env),
        smtp_host=given("SMTP_HOST"),
        smtp_port=given("SMTP_PORT"),
        smtp_tls=given("SMTP_TLS"),
        smtp_user=given("SMTP_USER"),
        smtp_password=secret("SMTP_PASSWORD") or secret("SMTP_PASS"),
        smtp_from=given("SMTP_FROM"),
        alert_email=given("ALERT_EMAIL"),
        apprise_urls=secret("APPRISE_URLS"),
        ping_url=secret("PING_URL"),
    )
