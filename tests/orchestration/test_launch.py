"""The launcher restarts itself where a new process is needed."""

import os
import sys
from collections.abc import Callable

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.orchestration import launch
from cyclegan_dist.orchestration.cluster import RestartNeededError


class Replaced(Exception):  # noqa: N818 - what would be the end of this process
    pass


@pytest.fixture
def execs(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    seen: list[list[str]] = []

    def execv(program: str, arguments: list[str]) -> None:
        seen.append([program, *arguments])
        raise Replaced

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "cyclegan_dist.train", "demo"])
    monkeypatch.delenv(launch.RESTARTED, raising=False)
    monkeypatch.setitem(os.environ, launch.RESTARTED, "")  # so that what the test sets does not stay
    monkeypatch.delitem(os.environ, launch.RESTARTED)
    return seen


def test_the_launcher_restarts_in_a_new_process(
    tiny_run: Callable[..., Config],
    execs: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config, waits = tiny_run(), []

    def needs_restart(config: Config, started: object, *, restarted: bool) -> tuple[str, int]:
        waits.append(restarted)
        raise RestartNeededError("there are too few nodes")

    monkeypatch.setattr("cyclegan_dist.orchestration.training.train_on_ray", needs_restart)
    for _ in range(2):
        with pytest.raises(Replaced):
            launch.launch(config, "ray")
    assert execs == 2 * [[sys.executable, "python", "-m", "cyclegan_dist.train", "demo"]]
    assert waits == [False, True]  # the second waits for nodes, which the first would have refused to start without
    out, err = capsys.readouterr()
    assert "there are too few nodes; restarting from the last checkpoint" in err
    assert out.count("starting ranks on Ray") == 2
