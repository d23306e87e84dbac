"""Calls PING_URL after a run, so that a machine that is dead is noticed from outside.

As services of the healthchecks kind take it: the URL for a run that ended well, with /fail behind its
path for one that failed. Whatever goes wrong here is a line of the log and nothing else.
"""

import urllib.error
import urllib.request
from collections.abc import Mapping
from functools import partial
from http.client import HTTPException
from urllib.parse import urlsplit, urlunsplit

from shared import log
from shared.bounded import within
from shared.errors import NotDelivered

logger = log.get(__name__)


async def ping(environ: Mapping[str, str], *, succeeded: bool, timeout_seconds: float) -> None:
    """Tell the watcher how the run ended, if PING_URL is set; never raises because of it."""
    base = environ.get("PING_URL", "").strip()
    if not base:
        return
    try:
        url = ping_url(base, succeeded=succeeded)
        status = await within(timeout_seconds, partial(_call, url, timeout_seconds))
    except TimeoutError:
        logger.warning("ping_failed", error=f"no answer within {timeout_seconds:g} s")
    except NotDelivered as error:
        logger.warning("ping_failed", error=str(error))
    else:
        logger.info("pinged", succeeded=succeeded, status=status)


def ping_url(base: str, *, succeeded: bool) -> str:
    """Return the URL to call. Raises NotDelivered when it is not one of http or https."""
    try:
        parts = urlsplit(base)
    except ValueError as error:
        raise NotDelivered("PING_URL cannot be read") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise NotDelivered("PING_URL must begin with https:// or http://")
    if succeeded:
        return base
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/fail"))


def _call(url: str, timeout_seconds: float) -> int:
    """Fetch the URL and return the status. Raises NotDelivered."""
    request = urllib.request.Request(url, headers={"User-Agent": "Catalyst"})  # noqa: S310 (ping_url checks it)
    try:
        # whoever waits gives up first; this timeout only ends the thread that is left behind
        with urllib.request.urlopen(request, timeout=2 * timeout_seconds) as answer:  # noqa: S310
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            raise NotDelivered(f"the answer was {error.code}") from error
    except (HTTPException, OSError, ValueError) as error:
        raise NotDelivered(str(error) or type(error).__name__) from error
