import os
from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.paths import PROJECT, data_directory

AS_ROOT = os.geteuid() == 0


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


@pytest.mark.skipif(not AS_ROOT, reason="asks what root gets")
@pytest.mark.parametrize("environ", [{}, {"CATALYST_HOME": ""}, {"XDG_DATA_HOME": "/elsewhere"}])
def test_root_keeps_its_data_where_other_users_can_enter(environ: dict[str, str]) -> None:
    assert data_directory(environ) == Path("/var/lib/catalyst")


@pytest.mark.skipif(AS_ROOT, reason="asks what an ordinary user gets")
@pytest.mark.parametrize("unset", [{}, {"CATALYST_HOME": ""}])
def test_a_user_keeps_data_in_the_users_own_directory(unset: dict[str, str]) -> None:
    assert data_directory(unset | {"XDG_DATA_HOME": "/data"}) == Path("/data/catalyst")
    assert data_directory(unset).name == "catalyst"
    assert data_directory(unset).is_relative_to(Path.home())
    assert data_directory(unset | {"XDG_DATA_HOME": "relative"}).is_absolute()
