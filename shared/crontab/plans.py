"""Whose slots they are: agents from config/, and those that cron/machines.yaml names for each machine.

An agent with a file in config/ is planned by its own settings; machines.yaml gives the exchange, and the
schedule where it is not the default, only of agents that have no such file yet.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from market import calendar
from shared import config_file, yaml_positions
from shared.config import ScheduleSettings, Settings
from shared.crontab.block import Plan
from shared.errors import ConfigError
from shared.schedule import impossible_schedule, problems


class PlannedAgent(BaseModel):
    """An agent that has no file in config/ yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exchange: Literal["XNYS", "XHKG"] | None = None
    schedule: ScheduleSettings = ScheduleSettings()


_MACHINES = TypeAdapter(dict[str, dict[str, PlannedAgent | None]])


def configured(
    agents: Sequence[str], environ: Mapping[str, str], project: Path
) -> tuple[Plan, ...]:
    """Return the plans of agents by their files. Raises ConfigError, also for a rehearsal."""
    return tuple(_configured(agent, environ, project) for agent in dict.fromkeys(agents))


def machines(project: Path) -> tuple[str, ...]:
    """Return the machines that cron/machines.yaml knows."""
    return tuple(_read(project))


def of_machine(machine: str, project: Path) -> tuple[Plan, ...]:
    """Return the plans of a machine's agents, whose keys need not be here. Raises ConfigError."""
    known = _read(project)
    if machine not in known:
        raise ConfigError(f"there is no machine {machine!r}; there are: {', '.join(known)}")
    return tuple(
        _planned(name, agent or PlannedAgent(), project) for name, agent in known[machine].items()
    )


def _planned(name: str, agent: PlannedAgent, project: Path) -> Plan:
    has_file = name in config_file.agents(project)
    if has_file == (agent.exchange is not None):
        where = "stands in its own file, not" if has_file else "has to stand"
        raise ConfigError(f"the exchange of {name} {where} in cron/machines.yaml")
    if agent.exchange is None:
        checks = (impossible_schedule,)
        return _plan(name, config_file.settings_of(name, project=project, checks=checks))
    for problem in problems(agent.schedule, agent.exchange):
        raise ConfigError(f"the schedule of {name} in cron/machines.yaml cannot work: {problem}")
    table = calendar.load(agent.exchange)
    return Plan(agent=name, schedule=agent.schedule, calendar=table)


def _configured(agent: str, environ: Mapping[str, str], project: Path) -> Plan:
    # which agents the crontab is for stands in its lines, so this shell's AGENT_ID does not matter
    own = {**environ, "AGENT_ID": agent}
    settings = config_file.load(agent, own, project=project, checks=(impossible_schedule,)).settings
    return _plan(agent, settings)


def _plan(agent: str, settings: Settings) -> Plan:
    if settings.rehearsal is not None:
        raise ConfigError(
            f"{agent} is a rehearsal and goes by no clock: it has no place in a crontab"
        )
    table = calendar.load(settings.market.exchange)
    return Plan(agent=agent, schedule=settings.schedule, calendar=table)


def _read(project: Path) -> dict[str, dict[str, PlannedAgent | None]]:
    path = project / "cron" / "machines.yaml"
    try:
        document = yaml_positions.parse(path.read_text(encoding="utf-8"))
        if document.mistakes:
            raise ConfigError(f"{path}: {document.mistakes[0].what}")
        return _MACHINES.validate_python(document.data)
    except OSError as e:
        raise ConfigError(f"{path} cannot be read: {e.strerror}") from e
    except ValidationError as e:
        raise ConfigError(f"{path} is not a list of machines: {e.errors()[0]['msg']}") from e
