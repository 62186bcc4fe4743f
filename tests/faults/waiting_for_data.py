"""Drill C16: loader processes that fail or hang, and long temporary folders."""

import dataclasses
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.loader_processes import LoaderError
from cyclegan_dist.data.reader import ShardReader
from cyclegan_dist.training import waiting
from tests.faults.forked_processes import in_fork
from tests.faults.matrix import Measured, Stage, row
from tests.training.trainings import go, records


@row(
    "C16",
    "a loader process fails, is killed or hangs; TMPDIR has a long name",
    "the run ends in one line, or goes on; no process is left",
    slow=True,
)
def failing_loaders(stage: Stage) -> Measured:
    cases: dict[str, Callable[[ShardReader, int], Any]] = {
        "raises": _raise,
        "killed": lambda self, index: os.kill(os.getpid(), signal.SIGKILL),
        "hangs": lambda self, index: time.sleep(600),
    }
    seconds: dict[str, float] = {}
    right = 0
    for name, read in cases.items():
        config = stage.run(name=name, data__workers=2)
        config = dataclasses.replace(config, world=dataclasses.replace(config.world, timeout_s=5.0))
        began = time.monotonic()
        right += in_fork(lambda config=config, read=read: _ends_in_one_line(config, read), timeout_s=60) == 0
        seconds[name] = time.monotonic() - began
        right += records(config)[-1]["status"] == "FAILED"
    folder = stage.folder / ("long" * 25)
    folder.mkdir()
    config = stage.run(name="long", data__workers=2, stop_after=8)
    finished = in_fork(lambda: _trains_in(folder, config), timeout_s=60) == 0
    times = ", ".join(f"{name} {s:.1f} s" for name, s in seconds.items())
    figure = (
        f"ended in one line and as FAILED {right // 2} of {len(cases)} ({times}); TMPDIR of {len(str(folder))} characters: "
        f"{'trained' if finished else 'did not train'}"
    )
    return Measured(figure, right == 2 * len(cases) and finished and max(seconds.values()) < 40)


def _raise(self: ShardReader, index: int) -> Any:
    raise KeyError("depth")


def _ends_in_one_line(config: Config, read: Callable[[ShardReader, int], Any]) -> None:
    patches = (
        patch.object(ShardReader, "read", read),
        patch.object(waiting, "SOONER", 0.1),
        patch("cyclegan_dist.training.parts.fixed_images", lambda *a, **k: {}),
    )
    for each in patches:
        each.start()
    try:
        go(config)
    except LoaderError as error:
        assert "\n" not in str(error)
        assert not multiprocessing.active_children()
        return
    raise AssertionError("the run went on")


def _trains_in(folder: Path, config: Config) -> None:
    tempfile.tempdir = str(folder)
    multiprocessing.current_process()._config["tempdir"] = None  # type: ignore[attr-defined]
    assert go(config) == "FINISHED"
