"""Helpers that train runs to their end and read their files."""

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any

import torch

from cyclegan_dist.config.config import Config
from cyclegan_dist.orchestration.plugins import PLUGINS
from cyclegan_dist.step.distributed import World
from cyclegan_dist.training.hooks.progress import Hooks, Progress
from cyclegan_dist.training.parts import Parts
from cyclegan_dist.training.stop import StopRequest
from cyclegan_dist.training.trainer import Loader, Plugin, train
from tests.ranks import run_ranks

ALONE = World(0, 1, torch.device("cpu"))


def go(config: Config, world: World = ALONE, *plugins: Plugin) -> str:
    return train(config, world, StopRequest(config.run_dir, world), (*PLUGINS, *plugins))


def before_step(done: int, rank: int, action: Callable[[Parts], Any]) -> Plugin:
    """Calls `action` on one rank when `done` steps are done and the next one is about to begin."""

    def plugin(parts: Parts, hooks: Hooks, at: Progress, loader: Loader) -> Loader:
        def batches() -> Loader:
            for step in itertools.count(at.step):
                if step == done and parts.world.rank == rank:
                    action(parts)
                yield next(loader)

        return batches()

    return plugin


def go_on(ranks: int, config: Config) -> None:
    if ranks == 1:
        assert go(config) == "FINISHED"
    else:
        assert set(run_ranks(lambda world: go(config, world), ranks)) == {"FINISHED"}


def final_state(config: Config, ranks: int) -> list[Any]:
    """Everything in the newest checkpoint: shared, and each rank's."""
    folder = max((config.run_dir / "checkpoints").glob("step-*"))
    names = ["shared.pt", *(f"rank-{rank:05d}.pt" for rank in range(ranks))]
    return [torch.load(folder / name, weights_only=True) for name in names]


def differences(one: Any, two: Any, path: str = "") -> list[str]:
    """Where two trees of tensors and values are not exactly equal."""
    if isinstance(one, torch.Tensor):
        return [] if one.dtype == two.dtype and torch.equal(one, two) else [path]
    if isinstance(one, Mapping):
        assert one.keys() == two.keys(), path
        return [d for key in one for d in differences(one[key], two[key], f"{path}/{key}")]
    if isinstance(one, list | tuple):
        assert len(one) == len(two), path
        return [d for i, (x, y) in enumerate(zip(one, two, strict=True)) for d in differences(x, y, f"{path}/{i}")]
    return [] if one == two else [path]


def records(config: Config) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (config.run_dir / "metrics.jsonl").read_text().splitlines()]
