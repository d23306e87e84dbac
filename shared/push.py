"""Channels besides mail, one for each URL of APPRISE_URLS, through the apprise library.

The library is imported by the first letter. Its URLs are secrets: a channel is called by number and kind.
"""

import re
from collections.abc import Iterator
from typing import Protocol, cast

from pydantic import SecretStr

from shared.bounded import PointOfNoReturn
from shared.config import Secrets
from shared.errors import NotDelivered
from shared.letters import Letter

_BETWEEN_URLS = re.compile(r"[\s,]+(?=[a-zA-Z][a-zA-Z0-9+.-]*://)")


class _Service(Protocol):
    """What of the library is used; its own types are known in part only."""

    def add(self, services: str) -> bool: ...

    def notify(self, body: str, title: str, notify_type: str, body_format: str) -> object: ...


class PushChannel:
    """One notification service."""

    def __init__(self, number: int, url: SecretStr) -> None:
        """Connect to nothing and import nothing yet."""
        self._url: SecretStr = url
        self._name: str = f"apprise {number} ({_kind(url)})"

    @property
    def name(self) -> str:
        """Number and kind of the service."""
        return self._name

    def deliver(self, letter: Letter, *, seconds: float, last_step: PointOfNoReturn) -> None:
        """Hand the letter to the service. Raises NotDelivered."""
        import apprise

        # in this thread: those of the library's own would keep the process from ending
        asset = apprise.AppriseAsset(app_id="Catalyst", async_mode=False)
        service = cast("_Service", apprise.Apprise(asset=asset))
        if not service.add(self._url.get_secret_value()):
            raise NotDelivered("apprise does not understand the URL")
        if not last_step.pass_by():
            raise NotDelivered("the time for sending was over before the letter was handed over")
        taken = service.notify(
            title=letter.subject,
            body=letter.body,
            notify_type=_TYPES[letter.severity],
            body_format="text",
        )
        if not taken:
            raise NotDelivered(f"the service did not take the letter within {seconds:g} s")

    def close(self) -> None:
        """Do nothing: no connection is kept."""


_TYPES = {"info": "info", "warning": "warning", "critical": "failure"}


def push_channels(secrets: Secrets) -> Iterator[PushChannel]:
    """Yield a channel for each URL that the environment gives."""
    urls = secrets.apprise_urls.get_secret_value() if secrets.apprise_urls else ""
    for number, url in enumerate(filter(None, _BETWEEN_URLS.split(urls.strip())), start=1):
        yield PushChannel(number, SecretStr(url))


def _kind(url: SecretStr) -> str:
    scheme, separator, _ = url.get_secret_value().partition("://")
    return scheme.lower() if separator else "no URL"
