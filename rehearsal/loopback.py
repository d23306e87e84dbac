"""Decides whether addresses stay on this machine, and so whether a stand-in may take Claude's place."""

import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from urllib.parse import parse_qs, unquote, urlsplit

from shared.config import Settings
from shared.errors import ConfigError

_PAPER = "paper"
_SUSPICIOUS = re.compile(r"[\s\\\x00-\x1f]")


def refuse_unless_rehearsal(settings: Settings, endpoints: Sequence[str]) -> None:
    """Raise ConfigError when fixed rules would trade an account that is not this machine's own.

    With the paper exchange nothing can be traded. With any other broker every endpoint that the run
    reaches has to be named, and each has to be on loopback: a simulator.
    """
    broker = str(settings.broker.name)
    if broker == _PAPER:
        return
    if not endpoints:
        msg = (
            f"the stand-in may not decide for {settings.agent.id}: {broker}'s endpoint is not named"
        )
        raise ConfigError(msg)
    for endpoint in endpoints:
        if not is_loopback(endpoint):
            msg = f"the stand-in may not decide for {settings.agent.id}: {endpoint} is not on loopback"
            raise ConfigError(msg)


def is_loopback(endpoint: str) -> bool:
    """Whether a URL, a host with or without port, or a socket's path can only lead to this machine.

    A name is believed only when it is localhost itself, since any other is whatever DNS says. What
    cannot be read is not on loopback.
    """
    if not endpoint or _SUSPICIOUS.search(endpoint):
        return False
    if endpoint.startswith("/") and not endpoint.startswith("//"):
        return True
    try:
        hosts = tuple(_hosts(endpoint))
    except ValueError:
        return False
    return bool(hosts) and all(map(_is_local, hosts))


def _hosts(endpoint: str) -> Iterator[str]:
    """Yield every host that an endpoint names, those in libpq's parameters included."""
    url = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
    parameters = parse_qs(url.query)
    named = [*parameters.get("host", []), *parameters.get("hostaddr", [])]
    yield from (host for value in named for host in value.split(","))
    if url.scheme == "unix" or url.scheme.endswith("+unix"):
        yield url.path if not url.netloc else unquote(url.netloc)
    elif url.hostname is not None:
        yield unquote(url.hostname)
    elif not named:
        yield ""


def _is_local(host: str) -> bool:
    if host.startswith("/") or host == "localhost":
        return True
    try:
        return "%" not in host and ip_address(host).is_loopback
    except ValueError:
        return False
