"""Runs a case of a soak test."""

import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch._dynamo  # the optimizer loads it, which takes seconds: once for all ranks that are forked
from PIL import Image

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.training.hooks.progress import Hooks, Progress
from cyclegan_dist.training.hooks.weight_consistency import digest
from cyclegan_dist.training.parts import Parts
from cyclegan_dist.training.trainer import Loader, Plugin
from tests.conftest import make_dataset, make_run
from tests.ranks import HangError, run_ranks
from tests.soak.cases import MOST_DELAY_S, Case, Phase
from tests.training.trainings import before_step, go, records


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        ranks, seed: of the case.
        end: `hung` if a rank did not end in time, `failed` if something else was wrong.
        seconds: of all phases.
        detail: stacks or the error.
    """

    ranks: int
    seed: int
    end: Literal["finished", "hung", "failed"]
    seconds: float
    detail: str = ""


def run(case: Case, data: Mapping[bool, Path], limit_s: float) -> Outcome:
    """Run a case on `datasets`; each of its phases has `limit_s` seconds."""
    began, end, detail = time.monotonic(), "finished", ""
    with tempfile.TemporaryDirectory(prefix="soak") as folder:
        try:
            _phases(case, data[case.paired], Path(folder), limit_s)
        except HangError as error:
            end, detail = "hung", str(error)
        except Exception as error:
            end, detail = "failed", str(error) or type(error).__name__
    return Outcome(case.ranks, case.seed, end, round(time.monotonic() - began, 1), detail)  # pyright: ignore


def _phases(case: Case, dataset: Path, home: Path, limit_s: float) -> None:
    batch = case.options["optim__batch_size"]
    epochs = {"schedule__n_epochs": batch, "schedule__n_epochs_decay": batch}  # more than the steps need
    # A hang must not end as an error of an exchange, or by the watchdog.
    options = {**case.options, **epochs, "data__path": str(dataset), "world__timeout_s": 10 * limit_s}
    for phase in case.phases:
        config = make_run(home, stop_after=batch * phase.steps, **options)
        try:
            answers = run_ranks(_work(config, phase), phase.ranks, limit_s)
        except AssertionError as error:
            if phase.end == "kill" and not isinstance(error, HangError):
                continue
            raise
        assert phase.end != "kill", "the rank was not killed"
        statuses, digests = zip(*answers, strict=True)
        assert len(set(digests)) == 1, f"weights differ: {digests}"
        stopped = {"FINISHED", "KILLED"} if phase.end == "stop file" else {"FINISHED"}
        assert len(set(statuses)) == 1 and statuses[0] in stopped, statuses
    assert records(config)[-1]["status"] == "FINISHED"  # pyright: ignore[reportPossiblyUnboundVariable]


def _work(config: Config, phase: Phase) -> Callable[[World], tuple[str, str]]:
    """What a rank does: train, and return the status and a digest of its weights, optimizers and averages."""

    def act(parts: Parts) -> None:
        if phase.end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        RunFolder(config.run_dir).stop.touch()

    def work(world: World) -> tuple[str, str]:
        kept: list[Parts] = []

        def keep(parts: Parts, hooks: Hooks, at: Progress, loader: Loader) -> Loader:
            kept.append(parts)
            return loader

        plugins: list[Plugin] = [keep, _slowed(phase.slowed, config.seed)]
        if phase.end != "steps":
            plugins.append(before_step(phase.at, phase.rank, act))
        status = go(config, world, *plugins)
        shared, _ = kept[0].state()
        return status, str(digest(list(_tensors(shared))))

    return work


def _slowed(rank: int, seed: int) -> Plugin:
    def plugin(parts: Parts, hooks: Hooks, at: Progress, loader: Loader) -> Loader:
        return _late(loader, random.Random(seed)) if parts.world.rank == rank else loader

    return plugin


def _late(loader: Loader, rng: random.Random) -> Loader:
    for batch in loader:
        time.sleep(rng.uniform(0, MOST_DELAY_S))
        yield batch


def _tensors(tree: Any) -> Iterator[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from _tensors(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from _tensors(value)


def datasets(root: Path) -> dict[bool, Path]:
    """Two small data sets: unequal numbers of images of one size, and pairs of different sizes."""
    rng = np.random.default_rng(0)
    for name in (f"{number}.png" for number in range(9)):
        shape = (*rng.integers(4, 8, 2) * 4, 3)
        for domain in "AB":
            path = root / "pairs" / domain / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(path)
    folders = (root / "pairs" / "A", root / "pairs" / "B", root / "pairs" / "out")
    prepare(PrepareConfig(*folders, samples_per_shard=4, pairs="names", workers=1))
    return {False: make_dataset(root / "plain"), True: folders[2]}
