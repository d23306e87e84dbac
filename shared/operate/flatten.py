"""Sells what the agent opened because a person says so: a cycle of its own, by the path of every order.

Needs an open session and the agent's lock. Does not touch what the agent did not open.
"""

import asyncio
import signal
import threading
from collections.abc import Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from time import monotonic
from typing import override
