"""Parts of the README that follow from the code; `make docs` writes them, a test holds them equal."""

from pathlib import Path

from rules.codes import MEANINGS, Code
from shared.order_life import TRANSITIONS, OrderState
from shared.paths import PROJECT
from shared.watch import MEANINGS as MEANINGS_OF_SIGNALS
from shared.watch import SignalKind
from tests.faults.cases import declared_cases, matrix

README = PROJECT / "README.md"


def code_table() -> str:
    """List every refusal code with what it says about itself."""
    rows = ["| code | refused when |", "|---|---|"]
    rows += [f"| `{code.value}` | {MEANINGS[code]} |" for code in Code]
    return "\n".join(rows)


def life_table() -> str:
    """List every state of an order and what may follow it."""
    rows = ["| state | can become |", "|---|---|"]
    for state in OrderState:
        after = [f"`{other}`" for other in OrderState if other in TRANSITIONS[state]]
        rows.append(f"| `{state}` | {', '.join(after) or 'nothing; a late fill is an event'} |")
    return "\n".join(rows)


def signal_table() -> str:
    """List every signal with what it speaks for, how strongly, and when it is given."""
    rows = ["| signal | speaks for | strength | given at |", "|---|---|---|---|"]
    for kind in SignalKind:
        meaning = MEANINGS_OF_SIGNALS[kind]
        rows.append(f"| `{kind}` | {meaning.direction} | {meaning.strength} | {meaning.when} |")
    return "\n".join(rows)


def fault_table() -> str:
    """Draw the matrix of faults from what the tests declare."""
    return matrix(declared for _, declared in declared_cases())


GENERATED = {
    "codes": code_table,
    "order life": life_table,
    "faults": fault_table,
    "signals": signal_table,
}
"""What stands between `<!-- name -->` and `<!-- /name -->`."""


def with_generated_parts(text: str) -> str:
    """Return the README with its generated parts renewed."""
    for name, make in GENERATED.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, _, rest = text.partition(begin)
        after = rest.partition(end)[2]
        text = f"{before}{begin}\n{make()}\n{end}{after}"
    return text


def main(readme: Path = README) -> None:
    """Renew the README in place."""
    readme.write_text(with_generated_parts(readme.read_text()))


if __name__ == "__main__":
    main()
