"""What the settings of an agent on moomoo must be together, and with the environment."""

import re
from collections.abc import Iterator, Mapping

from shared.config import Settings
from shared.config_brokers import BrokerName, MoomooSettings
from shared.config_finding import Finding
from shared.config_section import LOOPBACK_HOSTS

HOST, PORT, KEY_FILE = "MOOMOO_HOST", "MOOMOO_PORT", "MOOMOO_RSA_KEY_FILE"
"""Variables that win over the file."""
SIMULATOR = "MOOMOO_SIMULATOR"
"""The variable that can name a simulated OpenD on this machine."""

_HIGHEST_PORT = 65535


def section_for_moomoo(settings: Settings, _environ: Mapping[str, str]) -> Iterator[Finding]:
    """The section is there exactly when the broker is moomoo."""
    is_moomoo = settings.broker.name is BrokerName.MOOMOO
    if is_moomoo and settings.broker.moomoo is None:
        what = "the broker is moomoo, and the section broker.moomoo is missing"
        yield Finding(("broker", "name"), what, "add `moomoo: {}` to it for its defaults")
    if not is_moomoo and settings.broker.moomoo is not None:
        what = f"broker.moomoo belongs to moomoo, and broker.name is {settings.broker.name}"
        yield Finding(("broker", "moomoo"), what, "take the section out")


def moomoo_trades_hong_kong(settings: Settings, _environ: Mapping[str, str]) -> Iterator[Finding]:
    """The adapter knows Hong Kong's lots, ticks and fees, and an account in its money."""
    if settings.broker.name is not BrokerName.MOOMOO:
        return
    if settings.market.exchange != "XHKG":
        what = f"moomoo trades in Hong Kong here, XHKG, and not on {settings.market.exchange}"
        yield Finding(("market", "exchange"), what)
    elif settings.market.currency != "HKD":
        what = f"the account in Hong Kong is in HKD, not in {settings.market.currency}"
        yield Finding(("market", "currency"), what)


def somebody_watches_at_moomoo(
    settings: Settings, _environ: Mapping[str, str]
) -> Iterator[Finding]:
    """No stop can rest there: the monitor is the stop, so that nothing may be bought without it."""
    seconds = settings.monitor.entries_need_a_check_within_seconds
    if settings.broker.name is BrokerName.MOOMOO and seconds is None:
        what = (
            "moomoo's paper accounts have no stops, so that the position monitor is the stop:"
            " entries_need_a_check_within_seconds may not be null"
        )
        yield Finding(("monitor", "entries_need_a_check_within_seconds"), what, "60")


def opend_is_reached_safely(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """What leaves this machine is encrypted, and the variables hold what they should."""
    moomoo = settings.broker.moomoo
    if moomoo is None:
        return
    yield from _variables(environ)
    host = environ.get(HOST, "").strip() or moomoo.host
    is_elsewhere = host not in LOOPBACK_HOSTS and not environ.get(SIMULATOR)
    if is_elsewhere and opend_key_file(moomoo, environ) is None:
        what = (
            f"OpenD on another machine, {host}, is spoken to in clear unless broker.moomoo.rsa_key_file"
            f" or {KEY_FILE} names the key that it has too"
        )
        yield Finding(("broker", "moomoo", "rsa_key_file"), what)


def opend_shares_fit(settings: Settings, _environ: Mapping[str, str]) -> Iterator[Finding]:
    """The processes that can run together may not use more than there is."""
    moomoo = settings.broker.moomoo
    if moomoo is None:
        return
    shares = moomoo.shares
    together = shares.cycle_pct + shares.monitor_pct + shares.other_pct
    if together > 100:
        what = f"the shares of broker.moomoo.shares may be 100 per cent together, were {together}"
        yield Finding(("broker", "moomoo", "shares"), what)


def opend_address(moomoo: MoomooSettings, environ: Mapping[str, str]) -> tuple[str, int]:
    """Return host and port: the simulator's, else the variables', else the file's."""
    simulator = simulator_address(environ)
    if simulator is not None:
        host, _, port = simulator.rpartition(":")
        return host.strip("[]"), int(port)
    host, port = environ.get(HOST, "").strip(), environ.get(PORT, "").strip()
    return host or moomoo.host, int(port) if _is_port(port) else moomoo.port


def opend_key_file(moomoo: MoomooSettings, environ: Mapping[str, str]) -> str | None:
    """Return where the key is: as the variable says, else the file."""
    return environ.get(KEY_FILE, "").strip() or moomoo.rsa_key_file


def simulator_address(environ: Mapping[str, str]) -> str | None:
    """Return HOST:PORT of a simulated OpenD on this machine, if that is what is named."""
    given = environ.get(SIMULATOR, "").strip()
    host, _, port = given.rpartition(":")
    return given if host.strip("[]") in LOOPBACK_HOSTS and _is_port(port) else None


def _variables(environ: Mapping[str, str]) -> Iterator[Finding]:
    port = environ.get(PORT, "").strip()
    if port and not _is_port(port):
        yield Finding(PORT, f"it must be a port, 1 to {_HIGHEST_PORT}, was {port!r}")
    simulator = environ.get(SIMULATOR, "").strip()
    if simulator and simulator_address(environ) is None:
        what = f"it must be left out, or be 127.0.0.1:PORT on this machine, was {simulator!r}"
        yield Finding(SIMULATOR, what)


def _is_port(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 1 <= int(text) <= _HIGHEST_PORT
