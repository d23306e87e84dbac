"""The systemd unit for OpenD: a restart may not lengthen a lock of the login."""

from configparser import ConfigParser
from pathlib import Path

UNIT = Path(__file__).resolve().parent.parent / "cron" / "opend.service"
LONGEST_LOCK_MINUTES = 50
"""That automatic restarts have led to; the lock itself began with 36."""


def test_a_failed_opend_is_started_again_only_after_the_lock_is_over() -> None:
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str  # pyright: ignore[reportAttributeAccessIssue] (keys keep their case)
    unit.read(UNIT, encoding="utf-8")

    assert unit["Service"]["Restart"] == "on-failure"
    assert 60 * int(unit["Service"]["RestartSec"].removesuffix("h")) > LONGEST_LOCK_MINUTES
    assert unit["Unit"]["StartLimitIntervalSec"] == "1d"
    assert int(unit["Unit"]["StartLimitBurst"]) <= 3
    assert "-cfg_file=" in unit["Service"]["ExecStart"]
