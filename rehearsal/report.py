"""What a person reads of a rehearsal: who decided, a table per session, the sums, where to look next.

Knows a slot only by what main said about it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from decimal import Decimal
from typing import Any, TextIO

from shared.brain import Brain
from shared.outcome import Status
from shared.schedule import Slot

WHO_DECIDES = {
    Brain.STAND_IN: "Decisions: a fixed rule policy stands in for Claude; no model is asked.",
    Brain.CLAUDE: "Decisions: Claude; every call is paid for.",
}

_COST = {Brain.STAND_IN: "would cost", Brain.CLAUDE: "cost"}
_ENDS_IT = {Status.BUSY, Status.INTERRUPTED, Status.USAGE}
_WIDTH_IN_A_FILE = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One slot and what main said about it."""

    slot: Slot
    exit_code: int
    outcome: Mapping[str, Any]  # pyright: ignore[reportExplicitAny] (JSON as main prints it)
    complaint: str

    @property
    def watched(self) -> Mapping[str, Any]:  # pyright: ignore[reportExplicitAny] (the same)
        """What main said about the monitor's passes before the slot; empty where there were none."""
        return self.outcome.get("watched", {})

    @property
    def ends_it(self) -> bool:
        """Whether to go on makes no sense: somebody else plays, wants it to end, or has to correct it."""
        return self.outcome["status"] in _ENDS_IT

    @property
    def failed(self) -> bool:
        """Whether the slot was not played as it should have been."""
        return self.exit_code != 0 or self.ends_it


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What every table of a rehearsal is about."""

    exchange: str
    timezone: tzinfo
    currency: str
    brain: Brain


def show_session(day: date, played: Sequence[Played], scene: Scene, out: TextIO) -> None:
    """Print one session's table, then its alerts and what failed slots said."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Session of {day} ({scene.exchange}), times of the exchange")
    for heading in ("time", "mode", "decided, and why"):
        table.add_column(heading, overflow="fold")
    for heading in ("orders", "fills"):
        table.add_column(heading, justify="right")
    table.add_column("refused")
    for heading in (f"P&L {scene.currency}", "tokens", f"{_COST[scene.brain]} USD"):
        table.add_column(heading, justify="right")
    for one in played:
        if _has_acted(one.watched):
            table.add_row(*_watched_cells(one))
        table.add_row(*_cells(one, scene.timezone))
    Console(file=out, width=None if out.isatty() else _WIDTH_IN_A_FILE).print(table)
    for one in played:
        out.writelines(
            f"ALERT at {_time(one, scene.timezone)}: {subject}\n"
            for subject in (*one.watched.get("alerts", ()), *one.outcome["alerts"])
        )
        if one.failed:
            out.write(one.complaint)


def totals(played: Sequence[Played], seconds: float, scene: Scene) -> str:
    """Sum a rehearsal up in a sentence; P&L is that of the last slot of each session."""
    outcomes = [said for one in played for said in (one.watched, one.outcome) if said]
    profits = {said["at"][:10]: said["session_pnl"] for said in outcomes if said["session_pnl"]}
    profit = sum((Decimal(last) for last in profits.values()), Decimal(0))
    cost = sum((Decimal(said["cost_usd"]) for said in outcomes), Decimal(0))
    refused = sum(len(said["refusals"]) for said in outcomes)
    passes = sum(one.watched.get("passes", 0) for one in played)
    return (
        f"{len(played)} slots and {passes} passes of the monitor in {seconds:.1f} s: {sum(said['orders'] for said in outcomes)} orders,"
        f" {sum(said['fills'] for said in outcomes)} fills, {refused} reasons for refusals,"
        f" {sum(len(said['alerts']) for said in outcomes)} alerts;"
        f" {_naked(played)}; P&L {profit:+,.2f} {scene.currency}, {_COST[scene.brain]} {cost:.2f} USD."
    )


def _naked(played: Sequence[Played]) -> str:
    """Say how long shares were without a stop, by the last watch of each session."""
    by_day = {one.watched["at"][:10]: one.watched["naked_seconds"] for one in played if one.watched}
    return f"shares without a stop for {sum(by_day.values()):.0f} seconds"


def _has_acted(watched: Mapping[str, Any]) -> bool:
    return bool(watched and (watched["orders"] or watched["fills"] or watched["alerts"]))


def _watched_cells(one: Played) -> tuple[str, ...]:
    said = one.watched
    sold = f"left {', '.join(said['left'])}" if said["left"] else "filled while nothing was run"
    return (
        "",
        "monitor",
        sold,
        str(said["orders"] or ""),
        str(said["fills"] or ""),
        *[""] * 4,
    )


def _cells(one: Played, zone: tzinfo) -> tuple[str, ...]:
    said = one.outcome
    tokens = sum(
        int(said[name])
        for name in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    )
    decided = "\n".join(said["decisions"]) or said["reason"]
    if one.failed:
        decided = f"FAILED: {said['reason']}"
    return (
        _time(one, zone),
        one.slot.mode,
        decided,
        str(said["orders"] or ""),
        str(said["fills"] or ""),
        "\n".join(_counted(said["refusals"])),
        "" if said["session_pnl"] is None else f"{Decimal(said['session_pnl']):+,.2f}",
        f"{tokens:,}" if tokens else "",
        f"{Decimal(said['cost_usd']):.4f}" if tokens else "",
    )


def _counted(codes: Sequence[str]) -> list[str]:
    """Each code once, with how often it was given."""
    return [code if n == 1 else f"{code} x{n}" for code, n in Counter(codes).items()]


def _time(one: Played, zone: tzinfo) -> str:
    """When it really was, by the run's own word; the planned slot where it did not get that far."""
    said = one.outcome["at"]
    at = one.slot.at if said is None else datetime.fromisoformat(said)
    return f"{at.astimezone(zone):%H:%M}"
