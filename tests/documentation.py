"""Parts of the README that follow from the code; `make docs` writes them, a test holds them equal."""

import re
from pathlib import Path

from rules.codes import MEANINGS, Code
from shared.paths import PROJECT

README = PROJECT / "README.md"


def code_table() -> str:
    """List every refusal code with what it says about itself."""
    rows = ["| code | refused when |", "|---|---|"]
    rows += [f"| `{code.value}` | {MEANINGS[code]} |" for code in Code]
    return "\n".join(rows)


def with_generated_parts(text: str) -> str:
    """Return the README with its generated parts renewed."""
    return re.sub(
        r"<!-- codes -->.*?<!-- /codes -->",
        f"<!-- codes -->\n{code_table()}\n<!-- /codes -->",
        text,
        flags=re.DOTALL,
    )


def main(readme: Path = README) -> None:
    """Renew the README in place."""
    readme.write_text(with_generated_parts(readme.read_text()))


if __name__ == "__main__":
    main()
