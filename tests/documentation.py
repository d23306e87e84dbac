"""Parts of the README, and crontabs, that follow from the code; `make docs` writes them, tests hold them."""

from datetime import UTC, date
from pathlib import Path

from rules.codes import MEANINGS, Code
from shared.crontab import plans
from shared.crontab.block import Installation, block
from shared.due import Due
from shared.models import SLOT_MODES
from shared.order_life import TRANSITIONS, OrderState
from shared.paths import PROJECT
from shared.watch import MEANINGS as MEANINGS_OF_SIGNALS
from shared.watch import SignalKind
from tests.cron_days import days_between, lines, play
from tests.faults.cases import Group, cases_of, matrix

README = PROJECT / "README.md"
CRON = PROJECT / "cron"
EXAMPLE = Installation(
    project=Path("/opt/catalyst"),
    home=Path("/var/lib/catalyst"),
    logs=Path("/opt/catalyst/logs"),
)
"""Where the committed crontabs take Catalyst to lie, run by root."""
SWITCHES = (date(2026, 3, 8), date(2026, 11, 1), date(2027, 3, 14), date(2027, 11, 7))
"""Sundays on which New York changes its clocks."""


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
    return matrix(cases_of(Group.PAPER))


def fault_table_of_alpaca() -> str:
    """Draw the part of it that is played at a simulated Alpaca."""
    return matrix(cases_of(Group.ALPACA))


def fault_table_of_moomoo() -> str:
    """Draw the part of it that is played at a simulated OpenD."""
    return matrix(cases_of(Group.MOOMOO))


def dst_table() -> str:
    """Play the weeks around New York's changes of clock and list what fired, and what of it was due."""
    [plan] = plans.of_machine("hub", PROJECT)
    crontab = lines(block(EXAMPLE, [plan]))
    rows = [
        "| session in New York | UTC offset | scan | trade | close | heartbeat | fired in vain |",
        "|---|---|---|---|---|---|---|",
    ]
    for switch in SWITCHES:
        for day in days_between(*_week_around(switch)):
            if plan.calendar.session_on(day) is not None:
                judged = tuple(play(crontab, plan, [day]))
                due = [one for one in judged if isinstance(one.verdict, Due)]
                local = judged[0].at.astimezone(plan.calendar.timezone)
                times = {
                    mode: [f"{one.at.astimezone(UTC):%H:%M}" for one in due if one.mode is mode]
                    for mode in SLOT_MODES
                }
                shown = [_span(times[mode]) for mode in SLOT_MODES]
                cells = [f"{day:%a} {day}", f"{local:%z}", *shown, str(len(judged) - len(due))]
                rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def crontabs() -> dict[Path, str]:
    """Write the crontab of every machine, for Catalyst in /opt/catalyst."""
    return {
        CRON / f"{machine}.crontab": (
            f"# The crontab of {machine}, made by `make docs`; `python -m shared.crontab install` puts\n"
            f"# the same lines, with the paths of the checkout, into the crontab of whoever runs it.\n"
            f"# There is room here for {_ROOM[machine]}.\n"
            + block(EXAMPLE, plans.of_machine(machine, PROJECT))
        )
        for machine in plans.machines(PROJECT)
    }


_ROOM = {"hub": "big_bro and the doctor", "intl": "the doctor"}


def _week_around(switch: date) -> tuple[date, date]:
    """Return the Thursday before and the Tuesday after a Sunday."""
    return date.fromordinal(switch.toordinal() - 3), date.fromordinal(switch.toordinal() + 2)


def _span(times: list[str]) -> str:
    return times[0] if len(times) == 1 else f"{times[0]} to {times[-1]}, {len(times)} times"


GENERATED = {
    "codes": code_table,
    "order life": life_table,
    "faults": fault_table,
    "faults at alpaca": fault_table_of_alpaca,
    "faults at moomoo": fault_table_of_moomoo,
    "signals": signal_table,
    "dst": dst_table,
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
    """Renew the README in place, and the crontabs."""
    readme.write_text(with_generated_parts(readme.read_text()))
    for path, text in crontabs().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
