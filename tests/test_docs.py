"""What the documentation says exists, is called that, and works that way."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import tools
import unified_agent
from shared.config import Settings
from shared.models import SLOT_MODES
from shared.paths import PROJECT
from tests.documentation import CRON, README, crontabs, with_generated_parts

TEXT = README.read_text()
MAKEFILE = (PROJECT / "Makefile").read_text()


def test_generated_parts_are_up_to_date() -> None:
    assert with_generated_parts(TEXT) == TEXT, "make docs renews them"


def test_the_committed_crontabs_are_what_schedule_and_calendar_make() -> None:
    found = {path: path.read_text() for path in CRON.glob("*.crontab")}

    assert found == crontabs(), "make docs renews them"


def test_every_make_target_that_is_named_exists_and_says_what_it_does() -> None:
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", TEXT, flags=re.MULTILINE))
    targets = set(re.findall(r"^([a-z]+):.*## ", MAKEFILE, flags=re.MULTILINE))

    assert named <= targets


@pytest.mark.parametrize("path", re.findall(r"^([\w./]+)\s{2,}\w", TEXT, flags=re.MULTILINE))
def test_every_file_of_the_map_exists(path: str) -> None:
    assert (PROJECT / path).exists()


def test_every_module_has_a_place_on_the_map() -> None:
    mapped = set(re.findall(r"^([\w./]+)\s{2,}\w", TEXT, flags=re.MULTILINE))
    modules = {path.name for path in PROJECT.glob("*.py")}
    packages = {f"{path.parent.name}/" for path in PROJECT.glob("*/*.py")} - {"benchmarks/"}

    assert modules | packages <= mapped


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`([\w/]+\.(?:py|yaml|sql|md|in))`", TEXT)))
)
def test_every_file_that_is_named_exists(path: str) -> None:
    assert (PROJECT / path).exists()


def test_every_argument_of_the_command_line_is_documented(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        unified_agent.main(["--help"])
    arguments = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}

    assert arguments == set(re.findall(r"--[a-z-]+", TEXT)) & arguments
    for mode in SLOT_MODES:
        assert mode in TEXT


def test_every_setting_stands_in_the_rehearsal_with_a_word_about_it() -> None:
    yaml = (PROJECT / "config" / "rehearsal.yaml").read_text()
    for name, section in Settings.model_fields.items():
        assert re.search(rf"^{name}:", yaml, flags=re.MULTILINE), name
        fields = getattr(section.annotation, "model_fields", {})
        for field in fields:
            assert re.search(rf"^\s+(# )?{field}:", yaml, flags=re.MULTILINE), f"{name}.{field}"


def test_every_tool_is_named_where_the_changelog_announces_them() -> None:
    changelog = (PROJECT / "CHANGELOG.md").read_text()
    for name in tools.TOOLS:
        assert name in changelog


def test_nothing_in_the_project_names_a_place_outside_it() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    hosts = ["pypi" + ".org", "pythonhosted" + ".org", "debian" + ".org", "npmjs" + ".org"]
    words = [".." + "/shared", "/work" + "/", *hosts]
    for name in tracked:
        content = (PROJECT / name).read_bytes()
        for word in words:
            assert word.encode() not in content, f"{word} in {name}"


def test_the_python_that_is_asked_for_is_the_one_that_is_checked() -> None:
    assert "3.11" in MAKEFILE
    assert "Python 3.11" in TEXT
    assert sys.version_info >= (3, 11)
    assert Path(PROJECT / ".ci" / "run").read_text().rstrip().endswith("make test")
