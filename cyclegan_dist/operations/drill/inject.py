"""Carries out a plan inside the training loop of each rank, through hooks that torch has for others anyway."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

from cyclegan_dist.checkpoint.storage import Storage
from cyclegan_dist.operations.drill.faults import harm
from cyclegan_dist.operations.drill.plan import FOLDER, STEPS, Fault, read_plan
from cyclegan_dist.step.distributed import World
from cyclegan_dist.training.hooks.progress import Hooks, Progress
from cyclegan_dist.training.parts import Parts


def inject_faults(parts: Parts, hooks: Hooks, at: Progress, loader: Iterator[Any]) -> Iterator[Any]:
    """A plug-in of `train`: break the run as the plan in its folder says, if there is one."""
    if (faults := read_plan(parts.config.run_dir)) is None:
        return loader
    injector = Injector(faults, parts.config.run_dir, parts.world, parts.fence.attempt, at.step)
    injector.arm(next(iter(parts.method.translators.values())), parts.store.storage)
    hooks.consistency.insert(0, injector)
    return injector.loading(loader)


class Injector:
    """Breaks this rank where the plan says so, each fault once however often the ranks are started. As a hook it also
    notes when each step was done.

    Args:
        faults: the plan.
        run_dir: the run's folder.
        world: this rank among all.
        attempt: these ranks' name.
        step: steps done when they start.
    """

    def __init__(self, faults: list[Fault], run_dir: Path, world: World, attempt: str, step: int):
        self._folder, self._world, self._attempt, self._step = run_dir / FOLDER, world, attempt, step
        self._faults = [fault for fault in faults if not fault.hits_driver and fault.rank == world.rank]
        self._newest: Callable[[], int] = lambda: 0
        self._committed = 0

    def arm(self, generator: nn.Module, storage: Storage) -> None:
        """Reach into the forward and backward of a generator, and into the writing of checkpoints."""
        generator.register_forward_pre_hook(lambda *_: self._reach("forward") if torch.is_grad_enabled() else None)
        # The first layer's gradient is the last: the others' are being exchanged by then.
        first = next(generator.parameters())
        first.register_hook(lambda _: self._reach("backward"))
        self._newest = lambda: max(storage.steps(), default=0)
        self._committed = self._newest()
        create = storage.create

        @contextmanager
        def create_and_break(step: int, attempt: str, name: str) -> Iterator[BinaryIO]:
            with create(step, attempt, name) as file:
                yield file
            self._reach("save")

        storage.create = create_and_break

    def loading(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches, with a point before each."""
        while True:
            self._reach("data")
            yield next(batches)

    def __call__(self, at: Progress) -> None:
        self._step = at.step
        if self._world.is_first:
            line = {"step": at.step, "time": time.time(), "attempt": self._attempt}
            with (self._folder / STEPS).open("a") as file:
                file.write(json.dumps(line) + "\n")
        self._reach("step", at.step)
        if any(fault.point == "saved" for fault in self._faults) and self._newest() > self._committed:
            self._committed = self._newest()
            self._reach("saved", at.step)

    def end(self, at: Progress) -> None:
        """Nothing is left to break."""

    def _reach(self, point: str, step: int | None = None) -> None:
        """Break if a fault is due here that has not been before."""
        step = self._step + 1 if step is None else step
        for fault in self._faults:
            if fault.point == point and fault.step <= step and self._first_time(fault, step):
                harm(fault.kind)

    def _first_time(self, fault: Fault, step: int) -> bool:
        """Note that a fault happens, unless that is noted already."""
        try:
            descriptor = os.open(fired(self._folder, fault.number), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return False
        facts = {"time": time.time(), "step": step, "attempt": self._attempt, "host": self._world.address()}
        os.write(descriptor, json.dumps(facts).encode())
        os.close(descriptor)
        return True


def fired(folder: Path, number: int) -> Path:
    """The file that says that a fault has happened."""
    return folder / f"fired-{number}.json"
