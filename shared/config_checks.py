"""What the settings must be together, and with the environment; each setting alone is checked by its type.

Live trading is refused here, whichever way it is asked for.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from itertools import pairwise
from urllib.parse import urlsplit

from shared.config import DatabaseSettings, Settings
from shared.config_brokers import BrokerName
from shared.config_checks_opend import (
    moomoo_trades_hong_kong,
    opend_is_reached_safely,
    opend_shares_fit,
    section_for_moomoo,
    somebody_watches_at_moomoo,
)
from shared.config_finding import Finding
from shared.config_section import LOOPBACK_HOSTS
from shared.models import SLOT_MODES, Mode
from shared.yaml_positions import KeyPath

PAPER_HOSTS = LOOPBACK_HOSTS | {"paper-api.alpaca.markets"}
DATA_HOSTS = LOOPBACK_HOSTS | {"data.alpaca.markets"}
LIVE_KEY = "AK"
"""What the id of an Alpaca key for a live account begins with."""
ALPACA_REQUESTS_PER_MINUTE = 200
ALPACA_URL = "ALPACA_BASE_URL"
"""The variable that can name a simulator."""

PAPER_MODES = ("paper", "sandbox", "production")
"""What agents on paper accounts call themselves: one experiments, one runs what is proven."""


Check = Callable[[Settings, Mapping[str, str]], Iterator[Finding]]


def findings(
    settings: Settings, environ: Mapping[str, str], *, is_known: Callable[[KeyPath], bool]
) -> Iterator[Finding]:
    """Find everything wrong; a check is left out when a setting it reads is itself not known."""
    for reads, check in _CHECKS:
        if all(map(is_known, reads)):
            yield from check(settings, environ)


def live_findings(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Find every variable that asks for live trading; anything that is not clearly paper does."""
    paper = environ.get("PAPER_TRADING", "").strip()
    if paper and paper.lower() not in {"true", "1", "yes", "on"}:
        yield Finding("PAPER_TRADING", f"live trading is refused: it must be true, was {paper!r}")
    mode = environ.get("TRADING_MODE", "").strip()
    if mode and mode.lower() not in PAPER_MODES:
        known = ", ".join(PAPER_MODES)
        yield Finding(
            "TRADING_MODE", f"live trading is refused: it must be one of {known}, was {mode!r}"
        )
    url = environ.get("ALPACA_BASE_URL", "").strip()
    host = _host(url)
    if url and host not in PAPER_HOSTS:
        yield Finding(
            "ALPACA_BASE_URL",
            f"live trading is refused: its host must be paper-api.alpaca.markets, was {host!r}",
        )


def is_rehearsal(settings: Settings) -> bool:
    """Whether nothing outside this machine is touched: paper exchange and embedded database."""
    return settings.broker.name is BrokerName.PAPER and settings.database.kind == "embedded"


def _live(_settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    yield from live_findings(environ)


def _key_stays_private(_settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """The API key travels in every request: in clear it may not leave this machine."""
    url = environ.get("ANTHROPIC_BASE_URL", "").strip()
    if not url or url.startswith("https://"):
        return
    if not (url.startswith("http://") and _host(url) in LOOPBACK_HOSTS):
        yield Finding("ANTHROPIC_BASE_URL", "it must begin with https://, or be http on loopback")


def _session_for_paper(settings: Settings, _environ: Mapping[str, str]) -> Iterator[Finding]:
    is_paper = settings.broker.name is BrokerName.PAPER
    if is_paper and settings.rehearsal is None:
        what = "the paper broker plays a session, and the section rehearsal is missing"
        yield Finding(("broker", "name"), what, "add `rehearsal: {}` for its defaults")
    if not is_paper and settings.rehearsal is not None:
        what = f"rehearsal belongs to the paper broker, and broker.name is {settings.broker.name}"
        yield Finding(("rehearsal",), what, "take the section out")


def _section_for_alpaca(settings: Settings, _environ: Mapping[str, str]) -> Iterator[Finding]:
    is_alpaca = settings.broker.name is BrokerName.ALPACA
    if is_alpaca and settings.broker.alpaca is None:
        what = "the broker is Alpaca, and the section broker.alpaca is missing"
        yield Finding(("broker", "name"), what, "add `alpaca: {}` to it for its defaults")
    if not is_alpaca and settings.broker.alpaca is not None:
        what = f"broker.alpaca belongs to Alpaca, and broker.name is {settings.broker.name}"
        yield Finding(("broker", "alpaca"), what, "take the section out")


def _alpaca_is_paper(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Refuse every other host than those of paper trading and its data: the keys travel there."""
    alpaca = settings.broker.alpaca
    if alpaca is None:
        return
    place = ("broker", "alpaca", "trading_url")
    host = _host(alpaca.trading_url)
    if host not in PAPER_HOSTS:
        what = (
            "live trading is refused: the host of broker.alpaca.trading_url must be"
            f" paper-api.alpaca.markets, was {host!r}"
        )
        yield Finding(place, what)
    elif not _is_bare(alpaca.trading_url):
        yield Finding(place, _not_bare("trading_url", alpaca.trading_url))
    place = ("broker", "alpaca", "data_url")
    if (host := _host(alpaca.data_url)) not in DATA_HOSTS:
        what = f"the host of broker.alpaca.data_url must be data.alpaca.markets, was {host!r}"
        yield Finding(place, what)
    elif not _is_bare(alpaca.data_url):
        yield Finding(place, _not_bare("data_url", alpaca.data_url))
    given = environ.get(ALPACA_URL, "").strip()
    is_simulator = _host(given) in LOOPBACK_HOSTS and _is_bare(given)
    if given and not is_simulator and _host(given) != _host(alpaca.trading_url):
        what = (
            "it must be left out, name the host of broker.alpaca.trading_url, or a simulator on this"
            f" machine as http://127.0.0.1:PORT, was {given!r}"
        )
        yield Finding(ALPACA_URL, what)


def simulator_url(environ: Mapping[str, str]) -> str | None:
    """Return the address of a simulator on this machine, if that is what `ALPACA_BASE_URL` names."""
    given = environ.get(ALPACA_URL, "").strip()
    return given if _host(given) in LOOPBACK_HOSTS else None


def _not_bare(name: str, url: str) -> str:
    return (
        f"broker.alpaca.{name} must be https://HOST without a path, or http:// on this machine,"
        f" was {url!r}"
    )


def _is_bare(url: str) -> bool:
    """Whether it is a scheme and a host and nothing else, encrypted unless it stays on this machine."""
    parts = urlsplit(url)
    is_safe = parts.scheme == "https" or (
        parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS
    )
    rest = (parts.path, parts.query, parts.fragment, parts.username)
    return is_safe and not any(rest) and re.search(r":(?!\d+$)[^/\]]*$", parts.netloc) is None


def _alpaca_keys_are_given(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    alpaca = settings.broker.alpaca
    if alpaca is None:
        return
    for variable in (alpaca.api_key_env, alpaca.secret_key_env):
        if not environ.get(variable, "").strip():
            yield Finding(variable, "it is not set, and broker.alpaca names it")
    key = environ.get(alpaca.api_key_env, "").strip()
    if key.upper().startswith(LIVE_KEY):
        what = (
            f"live trading is refused: it holds the key of a live account, which begins with"
            f" {LIVE_KEY}"
        )
        yield Finding(alpaca.api_key_env, what, "use the key of the paper account, PK...")


def _alpaca_shares_fit(settings: Settings, _environ: Mapping[str, str]) -> Iterator[Finding]:
    alpaca = settings.broker.alpaca
    if alpaca is None:
        return
    shares = alpaca.requests_per_minute
    together = shares.cycle + shares.monitor + shares.other
    if together > ALPACA_REQUESTS_PER_MINUTE:
        what = (
            "the shares of broker.alpaca.requests_per_minute may be"
            f" {ALPACA_REQUESTS_PER_MINUTE} together, were {together}"
        )
        yield Finding(("broker", "alpaca", "requests_per_minute"), what)


def _embedded_is_for_paper(settings: Settings, _environ: Mapping[str, str]) -> Iterator[Finding]:
    if settings.database.kind == "embedded" and settings.broker.name is not BrokerName.PAPER:
        what = "an agent with a real broker needs its database URLs, and database.kind is embedded"
        yield Finding(("database", "kind"), what, "use url")


def _one_currency(settings: Settings, _environ: Mapping[str, str]) -> Iterator[Finding]:
    limits, market = settings.limits.currency, settings.market.currency
    if limits != market:
        what = f"limits.currency must equal market.currency, {market}, was {limits}"
        yield Finding(("limits", "currency"), what)


def _urls_are_given(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    for name, variable in _url_variables(settings.database):
        place = ("database", name)
        if settings.database.kind == "embedded":
            if variable is not None:
                yield Finding(
                    place, f"{name} has no use with an embedded database", "use kind: url"
                )
        elif variable is None:
            what = f"database.{name} is missing, and database.kind is url"
            yield Finding(place, what, "name the variable that holds the URL")
        else:
            yield from _url_findings(variable, environ.get(variable, "").strip())


def _url_findings(variable: str, url: str) -> Iterator[Finding]:
    wanted = "postgresql://user:password@host/database"
    if not url:
        yield Finding(variable, "it is not set, and the database settings name it", wanted)
    elif not url.startswith(("postgresql://", "postgres://")):
        yield Finding(variable, "it holds no PostgreSQL URL", wanted)


def _url_variables(database: DatabaseSettings) -> tuple[tuple[str, str | None], ...]:
    return (
        ("trading_url_env", database.trading_url_env),
        ("research_url_env", database.research_url_env),
    )


def _agent_is_the_one_meant(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    given = environ.get("AGENT_ID", "").strip()
    if is_rehearsal(settings) or given == settings.agent.id:
        return
    if not given:
        what = f"it must be set to {settings.agent.id}: only a rehearsal runs without it"
        yield Finding("AGENT_ID", what)
    else:
        yield Finding("AGENT_ID", f"it must equal agent.id, {settings.agent.id}, was {given}")


def _first_session_is_a_date(settings: Settings, _environ: Mapping[str, str]) -> Iterator[Finding]:
    text = settings.rehearsal.first_session if settings.rehearsal else None
    if text is not None and not _is_date(text):
        what = f"rehearsal.first_session must be a date, was {text!r}"
        yield Finding(("rehearsal", "first_session"), what, "write it as 2026-06-15")


def _runs_end_before_they_hang(
    settings: Settings, _environ: Mapping[str, str]
) -> Iterator[Finding]:
    """A cycle that may still wait for Claude must not be taken for one that hangs."""
    claude, locks = settings.claude, settings.locks
    may_take = claude.cycle_deadline_seconds + claude.request_timeout_seconds
    given = {("longest_run_seconds",): locks.longest_run_seconds} | {
        ("longest_run_seconds_by_mode", mode.value): seconds
        for mode in SLOT_MODES
        if (seconds := getattr(locks.longest_run_seconds_by_mode, mode.value)) is not None
    }
    for path, seconds in given.items():
        if seconds <= may_take:
            name = ".".join(("locks", *path))
            what = (
                f"{name} must be more than the {may_take:g} that Claude may take, was {seconds:g}"
            )
            yield Finding(("locks", *path), what)


def _closes_end_before_they_hang(
    settings: Settings, _environ: Mapping[str, str]
) -> Iterator[Finding]:
    """A close that works until its part of the session ends must not be taken for one that hangs."""
    locks, needs = settings.locks, 60.0 * settings.schedule.close_minutes_before_close
    if locks.longest_seconds(Mode.CLOSE) < needs:
        of_mode = locks.longest_run_seconds_by_mode.close is not None
        path = ("longest_run_seconds_by_mode", "close") if of_mode else ("longest_run_seconds",)
        what = (
            f"{'.'.join(('locks', *path))} must be at least the {needs:g} from the close to the end of"
            f" its part of the session, was {locks.longest_seconds(Mode.CLOSE):g}"
        )
        yield Finding(("locks", *path), what)


def _closes_look_before_they_give_up(
    settings: Settings, _environ: Mapping[str, str]
) -> Iterator[Finding]:
    """A close that gives up before it has begun would look only once."""
    schedule = settings.schedule
    most = 60.0 * schedule.close_minutes_before_close - schedule.close_look_again_seconds
    if schedule.close_gives_up_seconds_before_end > most:
        what = (
            f"schedule.close_gives_up_seconds_before_end must leave the close time to look again, at"
            f" most {most:g}, was {schedule.close_gives_up_seconds_before_end:g}"
        )
        yield Finding(("schedule", "close_gives_up_seconds_before_end"), what)


def _signals_in_order(settings: Settings, _environ: Mapping[str, str]) -> Iterator[Finding]:
    """A rung above the next one would never be reached, or would hide it."""
    for ladder in _LADDERS:
        for lower, higher in pairwise(ladder):
            low, high = getattr(settings.signals, lower), getattr(settings.signals, higher)
            if low > high:
                what = f"signals.{lower} must not be above signals.{higher}, {high}, was {low}"
                yield Finding(("signals", lower), what)


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _host(url: str) -> str | None:
    try:
        host = urlsplit(url if "//" in url else f"//{url}").hostname
    except ValueError:
        return None
    return host.rstrip(".") if host else None


_CLAUDE = (("claude", "cycle_deadline_seconds"), ("claude", "request_timeout_seconds"))
_LOCKS = (("locks", "longest_run_seconds"), ("locks", "longest_run_seconds_by_mode"))
_CLOSE = ("schedule", "close_minutes_before_close")
_CLOSE_WAITS = (
    ("schedule", "close_gives_up_seconds_before_end"),
    ("schedule", "close_look_again_seconds"),
)
_BROKER = ("broker", "name")
_ALPACA = ("broker", "alpaca")
_MOOMOO = ("broker", "moomoo")
_WATCHED = ("monitor", "entries_need_a_check_within_seconds")
_DATABASE = ("database", "kind")
_URLS = (("database", "trading_url_env"), ("database", "research_url_env"))

_LADDERS = (
    ("stop_loss_weak_pct", "stop_loss_near_pct", "stop_loss_pct"),
    ("take_profit_weak_pct", "take_profit_moderate_pct", "take_profit_pct"),
    ("healthy_profit_from_pct", "healthy_profit_to_pct"),
    (
        *("rsi_momentum_dead", "rsi_healthy_from", "rsi_healthy_to"),
        *("rsi_weak", "rsi_high", "rsi_overbought"),
    ),
    (
        *("volume_dying_pct", "volume_weak_pct", "volume_dying_weak_pct"),
        *("volume_healthy_pct", "volume_strong_pct"),
    ),
    ("time_stop_near_minutes", "time_stop_minutes"),
    ("minutes_to_close", "minutes_to_close_soon"),
)
"""Settings of which none may be above the next."""
_SIGNALS: tuple[KeyPath, ...] = tuple(("signals", name) for ladder in _LADDERS for name in ladder)

_CHECKS: tuple[tuple[tuple[KeyPath, ...], Check], ...] = (
    ((), _live),
    ((), _key_stays_private),
    ((_BROKER, ("rehearsal",)), _session_for_paper),
    ((_BROKER, _ALPACA), _section_for_alpaca),
    ((_BROKER, _ALPACA), _alpaca_is_paper),
    ((_BROKER, (*_ALPACA, "api_key_env"), (*_ALPACA, "secret_key_env")), _alpaca_keys_are_given),
    ((_BROKER, (*_ALPACA, "requests_per_minute")), _alpaca_shares_fit),
    ((_BROKER, _MOOMOO), section_for_moomoo),
    ((_BROKER, ("market", "exchange"), ("market", "currency")), moomoo_trades_hong_kong),
    ((_BROKER, _WATCHED), somebody_watches_at_moomoo),
    ((_BROKER, (*_MOOMOO, "rsa_key_file")), opend_is_reached_safely),
    ((_BROKER, (*_MOOMOO, "shares")), opend_shares_fit),
    ((_BROKER, _DATABASE), _embedded_is_for_paper),
    ((("limits", "currency"), ("market", "currency")), _one_currency),
    ((_DATABASE, *_URLS), _urls_are_given),
    ((_BROKER, _DATABASE, ("agent", "id")), _agent_is_the_one_meant),
    ((*_CLAUDE, *_LOCKS), _runs_end_before_they_hang),
    ((_CLOSE, *_LOCKS), _closes_end_before_they_hang),
    ((_CLOSE, *_CLOSE_WAITS), _closes_look_before_they_give_up),
    ((("rehearsal", "first_session"),), _first_session_is_a_date),
    (_SIGNALS, _signals_in_order),
)
