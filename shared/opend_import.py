"""Imports moomoo's client so that it leaves this process as it was.

By itself it takes over Ctrl-C, wants a home, writes a log into it, and prints to the console.
"""

import logging
import os
import signal
import tempfile
import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any


@contextmanager
def _as_it_was() -> Generator[None]:
    """Let a client be imported that takes over Ctrl-C, wants a home, and logs into it and to the console."""
    handler, home = signal.getsignal(signal.SIGINT), os.environ.get("HOME")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ["HOME"] = folder
        try:
            yield
        finally:
            if home is None:
                del os.environ["HOME"]
            else:
                os.environ["HOME"] = home
            if threading.current_thread() is threading.main_thread() and handler is not None:
                signal.signal(signal.SIGINT, handler)


def _silence(log: Any) -> None:
    """Close the client's log, whose folder goes away, and keep its console quiet."""
    log._file_level = log._console_level = logging.CRITICAL  # noqa: SLF001
    for logger in (log.file_logger, log.console_logger):
        for handler in tuple(logger.handlers):
            logger.removeHandler(handler)
            if isinstance(handler, logging.FileHandler):
                handler.close()
        logger.addHandler(logging.NullHandler())


with _as_it_was():
    from Crypto.PublicKey import RSA
    from moomoo.common import ft_logger, open_context_base, utils
    from moomoo.quote import quote_query

    BASE: Any = open_context_base
    UTILS: Any = utils
    QUERIES: Any = quote_query
    KEYS: Any = RSA
    CONFIG: Any = UTILS.SysConfig
    CONFIG.set_all_thread_daemon(True)
    NETWORK: Any = BASE.NetManager.default()
    """The client's one network thread, which lives as long as the process."""
    _silence(ft_logger.logger)
