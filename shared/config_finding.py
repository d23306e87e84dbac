"""One thing that is wrong with a configuration."""

from dataclasses import dataclass

from shared.yaml_positions import KeyPath


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong: at a path in the file, or in a variable of the environment."""

    place: KeyPath | str
    what: str
    suggestion: str | None = None
