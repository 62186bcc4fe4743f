"""Injection of planned faults into the training loop of each rank, through hooks of torch and of the storage."""

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
from cyclegan_dist.operations.drill.faults import apply_fault
from cyclegan_dist.operations.drill.plan import FOLDER, STEPS, Fault, read_plan
from cyclegan_dist.step.distributed import World
from cyclegan_dist.training.hooks.progress import Hooks, Progress
from cyclegan_dist.training.parts import Parts


def inject_faults(parts: Parts, hooks: Hooks, at: Progress, loader: Iterator[Any]) -> Iterator[Any]:
    """A plug-in of `train`: inject the faults of the plan in the run's folder, if there is one."""
    if (faults := read_plan(parts.config.run_dir)) is None:
        return loader
    injector = Injector(faults, parts.config.run_dir, parts.world, parts.fence.attempt, at.step)
    injector.arm(next(iter(parts.method.translators.values())), parts.store.storage)
    hooks.consistency.insert(0, injector)
    return injector.loading(loader)


class Injector:
    """Injects this rank's faults, each once however often the ranks are started. As a hook it also records when each
    step was done.

    Args:
        faults: the plan.
        run_dir: the run's folder.
        world: this rank among all.
        attempt: the name of this start of the ranks.
        step: steps done when they start.
    """

    def __init__(self, faults: list[Fault], run_dir: Path, world: World, attempt: str, step: int):
        self._folder, self._world, self._attempt, self._step = run_dir / FOLDER, world, attempt, step
        self._faults = [fault for fault in faults if not fault.targets_driver and fault.rank == world.rank]
        self._newest: Callable[[], int] = lambda: 0
        self._committed = 0

    def arm(self, generator: nn.Module, storage: Storage) -> None:
        """Hook into the forward and backward of a generator, and into the writing of checkpoints."""
        generator.register_forward_pre_hook(lambda *_: self._inject_due("forward") if torch.is_grad_enabled() else None)
        # The first layer's gradient is the last: the others' are being exchanged by then.
        first = next(generator.parameters())
        first.register_hook(lambda _: self._inject_due("backward"))
        self._newest = lambda: max(storage.steps(), default=0)
        self._committed = self._newest()
        create = storage.create

        @contextmanager
        def create_and_inject(step: int, attempt: str, name: str) -> Iterator[BinaryIO]:
            with create(step, attempt, name) as file:
                yield file
            self._inject_due("save")

        storage.create = create_and_inject

    def loading(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches, with the injection point `data` before each."""
        while True:
            self._inject_due("data")
            yield next(batches)

    def __call__(self, at: Progress) -> None:
        self._step = at.step
        if self._world.is_first:
            line = {"step": at.step, "time": time.time(), "attempt": self._attempt}
            with (self._folder / STEPS).open("a") as file:
                file.write(json.dumps(line) + "\n")
        self._inject_due("step", at.step)
        if any(fault.point == "saved" for fault in self._faults) and self._newest() > self._committed:
            self._committed = self._newest()
            self._inject_due("saved", at.step)

    def end(self, at: Progress) -> None:
        """Nothing to do."""

    def _inject_due(self, point: str, step: int | None = None) -> None:
        """Inject the faults that are due here and have not been injected before."""
        step = self._step + 1 if step is None else step
        for fault in self._faults:
            if fault.point == point and fault.step <= step and self._record(fault, step):
                apply_fault(fault.kind)

    def _record(self, fault: Fault, step: int) -> bool:
        """Record that a fault is injected. Returns whether it had not been recorded before."""
        try:
            descriptor = os.open(record_path(self._folder, fault.number), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return False
        facts = {"time": time.time(), "step": step, "attempt": self._attempt, "host": self._world.address()}
        os.write(descriptor, json.dumps(facts).encode())
        os.close(descriptor)
        return True


def record_path(folder: Path, number: int) -> Path:
    """The file that records that a fault was injected."""
    return folder / f"injected-{number}.json"
