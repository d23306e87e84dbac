"""Where Alpaca's published specification is not what its server does, each place with the reason.

A test fails for a patch that no request and no answer needs, or whose place has changed.
"""

from dataclasses import dataclass
from typing import Any

TRADING, DATA = "trading-api", "market-data-api"
"""The two documents, by name."""

_NUMBER_SENT = "alpaca-py has floats and ints in its request models and sends JSON numbers"
_TEXT: dict[str, Any] = {"type": "string"}
_TEXT_OR_NUMBER: dict[str, Any] = {"type": ["string", "number"]}
_DECIMAL: dict[str, Any] = {"format": "decimal", "type": "string"}
_FLAG: dict[str, Any] = {"type": "boolean"}
_PYTHON_FLAG: dict[str, Any] = {"enum": ["true", "false", "True", "False", True, False]}
_PYTHON_FLAG_SENT = "requests writes Python's True as it is, and the server takes it"
_ORDER, _LEG = "components/schemas/CreateOrderRequest", "components/schemas/PatchOrderRequest"
_ASSET = "components/schemas/Assets/properties"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """One place of one document, what stands there, and what should."""

    document: str
    place: str
    """Keys from the document's root, by "/"; a "/" within a key is "~1"."""
    published: Any
    """What stands there, descriptions and examples left out; None for nothing."""
    true: Any
    reason: str


PATCHES = (
    *(
        Patch(
            document=TRADING,
            place=f"{_ORDER}/properties/{name}",
            published=_TEXT,
            true=_TEXT_OR_NUMBER,
            reason=_NUMBER_SENT,
        )
        for name in ("qty", "limit_price", "stop_price")
    ),
    *(
        Patch(
            document=TRADING,
            place=f"{_ORDER}/properties/{name}",
            published=_DECIMAL,
            true=_TEXT_OR_NUMBER,
            reason=f"{_NUMBER_SENT}; its own description says string/number",
        )
        for name in (
            "take_profit/properties/limit_price",
            "stop_loss/properties/stop_price",
        )
    ),
    *(
        Patch(
            document=TRADING,
            place=f"{_LEG}/properties/{name}",
            published=_TEXT,
            true=_TEXT_OR_NUMBER,
            reason=_NUMBER_SENT,
        )
        for name in ("qty", "limit_price", "stop_price")
    ),
    Patch(
        document=TRADING,
        place="paths/~1v2~1orders/get/parameters/5/schema",
        published=_FLAG,
        true=_PYTHON_FLAG,
        reason=f"nested: {_PYTHON_FLAG_SENT}",
    ),
    Patch(
        document=TRADING,
        place="paths/~1v2~1orders~1{order_id}/get/parameters/0/schema",
        published=_FLAG,
        true=_PYTHON_FLAG,
        reason=f"nested: {_PYTHON_FLAG_SENT}",
    ),
    Patch(
        document=DATA,
        place="paths/~1v1beta1~1news/get/parameters/5/schema",
        published=_FLAG,
        true=_PYTHON_FLAG,
        reason=f"include_content: {_PYTHON_FLAG_SENT}",
    ),
    *(
        Patch(
            document=TRADING,
            place=f"components/parameters/legacy_{name}/schema",
            published={"format": "date-time", "type": "string"},
            true={"anyOf": [{"format": "date"}, {"format": "date-time"}], "type": "string"},
            reason="the calendar is asked by dates, as its own description says",
        )
        for name in ("start", "end")
    ),
    Patch(
        document=TRADING,
        place=f"{_ASSET}/easy_to_borrow",
        published=None,
        true={"type": "boolean"},
        reason="the schema's own example has it, and alpaca-py cannot read an asset without",
    ),
    *(
        Patch(
            document=DATA,
            place=f"components/schemas/news/properties/{name}",
            published={"minLength": 1, "type": "string"},
            true={"type": "string"},
            reason="a story without it, or asked for without its content, has an empty text there",
        )
        for name in ("content", "summary")
    ),
)
