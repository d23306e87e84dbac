import os
from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.paths import PROJECT, data_directory

ROOT, SOMEBODY = 0, 1000


def test_the_project_is_where_its_configuration_lies() -> None:
    assert (PROJECT / "pyproject.toml").is_file()


def test_catalyst_home_wins_over_everything() -> None:
    environ = {"CATALYST_HOME": "/srv/catalyst", "XDG_DATA_HOME": "/elsewhere"}

    assert data_directory(environ) == Path("/srv/catalyst")


def test_a_tilde_in_catalyst_home_is_the_home_directory() -> None:
    assert data_directory({"CATALYST_HOME": "~/agents"}) == Path.home() / "agents"


@pytest.mark.parametrize("chosen", ["agents", "./agents", "~nobody-of-this-name/agents"])
def test_a_catalyst_home_that_is_nowhere_is_refused_by_name(chosen: str) -> None:
    with pytest.raises(ConfigError, match=chosen):
        data_directory({"CATALYST_HOME": chosen})


@pytest.mark.parametrize("environ", [{}, {"CATALYST_HOME": ""}, {"XDG_DATA_HOME": "/elsewhere"}])
def test_root_keeps_its_data_where_other_users_can_enter(environ: dict[str, str]) -> None:
    assert data_directory(environ, user_id=ROOT) == Path("/var/lib/catalyst")


@pytest.mark.parametrize("unset", [{}, {"CATALYST_HOME": ""}])
def test_a_user_keeps_data_in_the_users_own_directory(unset: dict[str, str]) -> None:
    own = data_directory(unset, user_id=SOMEBODY)
    named = data_directory(unset | {"XDG_DATA_HOME": "/data"}, user_id=SOMEBODY)
    relative = data_directory(unset | {"XDG_DATA_HOME": "relative"}, user_id=SOMEBODY)

    assert own.name == "catalyst"
    assert own.is_relative_to(Path.home())
    assert named == Path("/data/catalyst")
    assert relative.is_absolute()


def test_without_a_user_id_it_is_that_of_the_process() -> None:
    assert data_directory({}) == data_directory({}, user_id=os.geteuid())
