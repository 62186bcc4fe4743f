import dataclasses
import os

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.operations.doctor.jobs import check_job_stop
from tests.operations.doctor.fleets import Forked


@pytest.mark.parametrize(("value", "level"), [(None, "yellow"), ("19", "yellow"), ("20", "green"), ("120", "green")])
def test_the_head_s_patience_is_measured_against_a_checkpoint(value: str | None, level: str) -> None:
    """The paper's takes 418 MB, 4.2 s at 100 MB/s, and 15 s to come to it."""

    def start() -> None:
        os.environ.pop("RAY_JOB_STOP_WAIT_TIME_S", None)
        if value:
            os.environ["RAY_JOB_STOP_WAIT_TIME_S"] = value

    other = {"b": lambda: os.environ.update(RAY_JOB_STOP_WAIT_TIME_S="9999")}
    (found,) = check_job_stop(Forked("a", "b", prepare={"a": start, **other}), Config())
    assert found.level == level
    assert found.found.startswith(f"{value or 3} s between")


def test_a_head_that_does_not_say_is_no_silence() -> None:
    fleet = Forked("a", prepare={"a": lambda: os.environ.update(RAY_JOB_STOP_WAIT_TIME_S="soon")})
    (found,) = check_job_stop(fleet, Config())
    assert found.level == "red" and "soon" in found.found
    fleet.nodes = [dataclasses.replace(fleet.nodes[0], is_head=False)]
    (found,) = check_job_stop(fleet, Config())
    assert found.level == "yellow"
