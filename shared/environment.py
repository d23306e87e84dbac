"""What the environment says: `.env` read in one place, which agent is meant, and which values are secret."""

import io
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from shared.config import Configuration
from shared.errors import ConfigError, Problem

if TYPE_CHECKING:
    from dotenv.parser import Binding

REHEARSAL = "rehearsal"

_SECRET_NAME = re.compile(r"(^|_)(KEY|SECRET|PASSWORD|PASSWD|PASS|TOKEN)(_|$)|^PGPASSWORD$")
_SHORTEST_GUESS = 6
_SHORTEST_TOKEN = 12


def read_environment(project: Path, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment with the project's `.env` under it: what is really set wins.

    Values are taken as they stand, without `${...}` being filled in. Raises ConfigError with every
    line of `.env` that cannot be read; no value is shown.
    """
    return {**_read_env_file(project / ".env"), **environ}


def environment_notices(project: Path) -> tuple[str, ...]:
    """Return sentences for the operator that are no reason not to run."""
    path = project / ".env"
    if path.is_file() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return (f"{path} can be read by other users of this machine: chmod 600 {path}",)
    return ()


def agent_name(argument: str | None, environ: Mapping[str, str]) -> str:
    """Return the agent to run: `--agent`, else AGENT_ID, else the rehearsal.

    Raises ConfigError when both are given and differ, since one of them is a mistake; only the
    rehearsal, which touches nothing, may be asked for on another agent's machine.
    """
    given = environ.get("AGENT_ID", "").strip()
    if argument is None:
        return given or REHEARSAL
    if given and argument not in {given, REHEARSAL}:
        what = f"--agent is {argument}, and AGENT_ID is {given}"
        raise ConfigError((Problem("--agent", what, "leave one of them out"),))
    return argument


def secret_values(configuration: Configuration, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return every value that must never be shown: keys, and the passwords inside URLs."""
    given = (
        value.get_secret_value()
        for _, value in configuration.secrets
        if isinstance(value, SecretStr)
    )
    own = (secret for value in given for secret in _url_passwords(value) or (value,))
    channels = (configuration.secrets.apprise_urls, configuration.secrets.ping_url)
    tokens = (token for urls in channels if urls for token in _tokens(urls.get_secret_value()))
    return tuple(dict.fromkeys((*own, *tokens, *secrets_in(environ))))


def secrets_in(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values that look secret by their variable's name, or are a password in a URL."""
    found: list[str] = []
    for name, value in environ.items():
        passwords = _url_passwords(value)
        found.extend(passwords)
        if not passwords and _SECRET_NAME.search(name) and len(value.strip()) >= _SHORTEST_GUESS:
            found.append(value.strip())
    return tuple(dict.fromkeys(found))


def _url_passwords(value: str) -> tuple[str, ...]:
    """Return the password as written and as meant, or nothing."""
    if "://" not in value:
        return ()
    try:
        password = urlsplit(value.strip()).password
    except ValueError:
        return ()
    return tuple(dict.fromkeys((password, unquote(password)))) if password else ()


def _tokens(urls: str) -> Iterator[str]:
    """Yield what in the URLs of a notification service lets others use it: keys stand in the path."""
    for piece in (*urls.split(), *re.split(r"[\s,/:@?&=]+", urls)):
        if "://" in piece or (len(piece) >= _SHORTEST_TOKEN and "." not in piece):
            yield piece


def _read_env_file(path: Path) -> dict[str, str]:
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return {}
    except OSError as e:
        raise ConfigError((Problem(str(path), f"it cannot be read: {e.strerror}"),)) from e
    except UnicodeDecodeError as e:
        raise ConfigError((Problem(str(path), f"it is not UTF-8 at byte {e.start}"),)) from None
    # Only a machine with a .env pays for the import.
    from dotenv.parser import parse_stream

    bindings = tuple(parse_stream(io.StringIO(text)))
    problems = tuple(_env_problems(path, bindings))
    if problems:
        raise ConfigError(problems)
    return {
        binding.key: binding.value
        for binding in bindings
        if binding.key and binding.value is not None
    }


def _env_problems(path: Path, bindings: "tuple[Binding, ...]") -> Iterator[Problem]:
    first: dict[str, int] = {}
    for binding in bindings:
        line = _line(binding)
        where = f"{path}:{line}"
        if binding.error or (binding.key is not None and binding.value is None):
            yield Problem(where, "this line cannot be read", "write NAME=value")
        elif binding.key in first:
            yield Problem(where, f"{binding.key} is set twice, first on line {first[binding.key]}")
        elif binding.key is not None:
            first[binding.key] = line


def _line(binding: "Binding") -> int:
    """Line of a binding's first word; dotenv counts the empty lines before it as its own."""
    text = binding.original.string
    return binding.original.line + text.count("\n", 0, len(text) - len(text.lstrip()))
