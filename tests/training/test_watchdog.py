"""Ranks that hang. Forked: the watchdog ends its process."""

import ctypes
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as torch_dist

from cyclegan_dist.step.distributed import World
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
def test_a_step_that_hangs_ends_the_process_and_leaves_the_stacks(tmp_path: Path, hang: Callable[[], None]) -> None:
    began = time.monotonic()
    assert in_fork(supervised(tmp_path, [quick, hang])) == 1
    assert time.monotonic() - began < 15
    text = (tmp_path / "stacks-rank-0.txt").read_text()
    assert "Timeout" in text and "in supervised" not in text and "in rank" in text


@pytest.mark.parametrize("first", [lambda: time.sleep(1), quick])
def test_the_first_step_and_pauses_between_steps_may_take_long(tmp_path: Path, first: Callable[[], None]) -> None:
    assert in_fork(supervised(tmp_path, [first, quick])) == 0
    assert not list(tmp_path.glob("stacks*"))


def test_slow_steps_are_no_hang(tmp_path: Path) -> None:
    assert in_fork(supervised(tmp_path, [lambda: time.sleep(0.2), lambda: time.sleep(0.8)])) == 0


def test_a_process_that_nobody_would_start_again_is_not_watched(tmp_path: Path) -> None:
    def alone() -> None:
        with Watchdog(tmp_path, ALONE, 0.01) as watchdog:
            for seconds in (0.01, 1):
                with watchdog.watching():
                    time.sleep(seconds)

    assert in_fork(alone) == 0
    assert not list(tmp_path.glob("stacks*"))


def test_ranks_wait_for_each_other_as_long_as_they_are_told(tmp_path: Path) -> None:
    def wait(world: World) -> float:
        with Watchdog(tmp_path, world, 1.0) as watchdog, watchdog.watching():
            world.max([1.0])
        if world.rank:
            time.sleep(4)
            return 0.0
        began = time.monotonic()
        with pytest.raises(RuntimeError, match=r"(?i)timed out"):
            world.max([1.0])
        return time.monotonic() - began

    assert 0.5 < run_ranks(wait, 2)[0] < 3
