"""What every reader of a feed's answers says where an answer is not what it should be."""

_SHOWN = 80


class Unreadable(ValueError):
    """Something in an answer is not in the documented form; the text is one sentence."""


def cut(value: object) -> str:
    """Return a value for a sentence, short enough for one."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
