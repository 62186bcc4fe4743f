"""Ranks that hang. Forked: the watchdog ends its process."""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
import torch.distributed as torch_dist

from cyclegan_dist.step.distributed import World
from cyclegan_dist.training import watchdog
from cyclegan_dist.training.watchdog import Watchdog
from tests.faults.forked_processes import in_fork
from tests.ranks import run_ranks

ALONE = World(0, 1, torch.device("cpu"))


def supervised(folder: Path, steps: list[Callable[[], object]]) -> Callable[[], None]:
    """A rank of one whose steps take as long as they say, under a watchdog of a fifth of a second."""

    def rank() -> None:
        store = torch_dist.FileStore(str(folder / "store"), 1)
        torch_dist.init_process_group("gloo", store=store, rank=0, world_size=1)
        with Watchdog(folder, ALONE, 0.2) as watchdog:
            for step in steps:
                with watchdog.watching():
                    step()
            time.sleep(1)  # between steps it may

    return rank


def holds_the_lock() -> None:
    ctypes.PyDLL(None).sleep(30)


def quick() -> None:
    time.sleep(0.02)


@pytest.mark.parametrize("hang", [lambda: time.sleep(30), holds_the_lock])
def test_a_hanging_step_ends_the_process_and_writes_the_stacks(tmp_path: Path, hang: Callable[[], None]) -> None:
    started = time.monotonic()
    assert in_fork(supervised(tmp_path, [quick, hang])) == 1
    assert time.monotonic() - started < 15
    text = (tmp_path / "stacks-rank-0.txt").read_text()
    assert "Timeout" in text and "in supervised" not in text and "in rank" in text


@pytest.mark.parametrize("first", [lambda: time.sleep(1), quick])
def test_the_first_step_and_pauses_between_steps_may_take_long(tmp_path: Path, first: Callable[[], None]) -> None:
    assert in_fork(supervised(tmp_path, [first, quick])) == 0
    assert not list(tmp_path.glob("stacks*"))


def test_slow_steps_are_allowed(tmp_path: Path) -> None:
    assert in_fork(supervised(tmp_path, [lambda: time.sleep(0.2), lambda: time.sleep(0.8)])) == 0


def alone(folder: Path, steps: Sequence[Callable[[], object]], *, data: bool = False) -> Callable[[], None]:
    """A single process under a watchdog whose limit is a second, of whose steps `data` waits for data alone."""

    def run() -> None:
        with Watchdog(folder, ALONE, 0.1) as watchdog:
            for step in steps:
                with watchdog.watching(), watchdog.waiting() if data else contextlib.nullcontext():
                    step()
            time.sleep(1.5)

    return run


@pytest.mark.parametrize(
    ("steps", "data"), [([quick, lambda: time.sleep(30)], False), ([lambda: time.sleep(30)], True)]
)
def test_a_single_process_that_hangs_ends_with_one_line(
    tmp_path: Path, steps: list[Callable[[], None]], data: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    assert in_fork(alone(tmp_path, steps, data=data)) == 1
    assert time.monotonic() - started < 15
    assert "in run" in (tmp_path / "stacks-rank-0.txt").read_text()
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: training has hung for 1 s") and "run the same command again" in line


def test_a_single_process_may_take_long_for_its_first_step_and_be_suspended(tmp_path: Path) -> None:
    def suspended() -> None:
        if not os.fork():
            time.sleep(2)
            os.kill(os.getppid(), signal.SIGCONT)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGSTOP)

    assert in_fork(alone(tmp_path, [lambda: time.sleep(1.7)])) == 0
    assert in_fork(alone(tmp_path, [quick, suspended])) == 0
    assert not list(tmp_path.glob("stacks*"))


def test_exchanges_time_out_after_the_first_step(tmp_path: Path) -> None:
    def wait(world: World) -> float:
        with Watchdog(tmp_path, world, 1.0) as watchdog, watchdog.watching():
            world.max([1.0])
        ended = tmp_path / "ended"
        if world.rank:
            while not ended.exists():
                time.sleep(0.05)
            return 0.0
        started = time.monotonic()
        try:
            with pytest.raises(RuntimeError, match=r"(?i)timed out"):
                world.max([1.0])
        finally:
            ended.touch()
        return time.monotonic() - started

    assert 0.5 < run_ranks(wait, 2)[0] < 3


@pytest.mark.parametrize("stopped", [False, True])
def test_a_write_that_hangs_ends_the_process_with_one_line(
    tmp_path: Path, stopped: bool, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "STOPPING_S", 0.5)

    def run() -> None:
        limit, number = (60.0, signal.SIGTERM) if stopped else (0.5, 0)
        with Watchdog(tmp_path, ALONE, 30, limit, lambda: number) as dog, dog.saving():
            time.sleep(30)

    started = time.monotonic()
    assert in_fork(run) == (128 + signal.SIGTERM if stopped else 1)
    assert time.monotonic() - started < 15
    (line,) = capfd.readouterr().err.splitlines()
    assert "does the storage answer?" in line and "run the same command again to resume" in line


def test_writes_may_take_their_time_and_be_postponed(tmp_path: Path) -> None:
    def run() -> None:
        with Watchdog(tmp_path, ALONE, 0.1, 1.0) as dog:
            with dog.saving():
                time.sleep(0.7)
                dog.postpone()
                time.sleep(0.7)
            dog.postpone()
            time.sleep(2)  # outside of a write

    assert in_fork(run) == 0
