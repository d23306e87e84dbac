"""Takes secrets out of text before it is shown or kept.

It knows the values it was given, plain or percent-encoded or escaped, and two shapes that are always
secret: the password inside a URL and an Anthropic API key.
"""

import json
import re
from collections.abc import Callable, Iterable

REDACTED = "[redacted]"

SHORTEST_SECRET = 4
"""Shorter values are not looked for: they would blacken ordinary words."""

# a scheme without a bound on its length would make a long word cost the square of it
_URL_PASSWORD = re.compile(r"(?P<before>[a-zA-Z][\w+.-]{0,30}://[^\s:/@'\"]*:)[^\s/'\"]+(?=@)")
_ANTHROPIC_KEY = re.compile(r"sk-ant-[\w-]{4,}")


def redactor(secrets: Iterable[str]) -> Callable[[str], str]:
    """Return a function that replaces every known secret in a text by `[redacted]`."""
    longest_first = sorted(
        {secret for secret in secrets if len(secret) >= SHORTEST_SECRET}, key=len, reverse=True
    )
    known = re.compile("|".join(_in_any_spelling(secret) for secret in longest_first) or r"(?!)")

    def redact(text: str) -> str:
        text = known.sub(REDACTED, text)
        text = _URL_PASSWORD.sub(rf"\g<before>{REDACTED}", text)
        return _ANTHROPIC_KEY.sub(REDACTED, text)

    return redact


def _in_any_spelling(secret: str) -> str:
    return "".join(f"(?:{'|'.join(_spellings(character))})" for character in secret)


def _spellings(character: str) -> list[str]:
    """List the patterns of one character: as it is, percent-encoded, escaped by JSON or by repr."""
    percent = "".join(f"%{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
    written = {json.dumps(character)[1:-1], character, f"\\{character}"}
    plus = [r"\+"] if character == " " else []
    return [*map(re.escape, sorted(written, key=len, reverse=True)), f"(?i:{percent})", *plus]
