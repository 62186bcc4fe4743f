"""Training runs that `benchmarks.scaling` compares."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from benchmarks.runs import NO_SIDE_WORK, LaunchSetup, run, step_s

POINTS = 5  # log points in a training; steps are timed between them
CHECKPOINT_STEPS = 5
Training = Literal["one", "torchrun-1", "ray-1", "torchrun-2", "ray-2", "torchrun-4", "mlflow", "checkpoints"]
TITLES: dict[Training, str] = {
    "one": "one process, 1 rank",
    "torchrun-1": "torchrun, 1 rank",
    "ray-1": "Ray Train, 1 rank",
    "torchrun-2": "torchrun, 2 ranks",
    "ray-2": "Ray Train, 2 ranks",
    "torchrun-4": "torchrun, 4 ranks",
    "mlflow": "torchrun, 2 ranks, with MLflow",
    "checkpoints": f"torchrun, 2 ranks, a checkpoint every {CHECKPOINT_STEPS} steps",
}
# Overheads: a training with a feature, and the same training without it.
COSTS: list[tuple[Training, Training]] = [
    ("torchrun-1", "one"),
    ("ray-1", "one"),
    ("ray-2", "torchrun-2"),
    ("mlflow", "torchrun-2"),
    ("checkpoints", "torchrun-2"),
]


def launch_setup(training: Training, micro_batch: int) -> LaunchSetup:
    """The launcher, ranks and options of a training."""
    match training:
        case "one":
            return LaunchSetup("one process", 1)
        case "torchrun-1" | "torchrun-2" | "torchrun-4":
            return LaunchSetup("torchrun", int(training[-1]))
        case "ray-1" | "ray-2":
            return LaunchSetup("Ray Train", int(training[-1]))
        case "mlflow":
            return LaunchSetup("torchrun", 2, {"tracking.mlflow": True})
        case "checkpoints":
            return LaunchSetup("torchrun", 2, {"every.checkpoint": CHECKPOINT_STEPS * 2 * micro_batch})


def timed(
    training: Training, folder: Path, options: dict[str, Any], micro_batch: int, steps: int
) -> Callable[[], float]:
    """A function for `alternate`: runs a new training and returns its seconds per step.

    Args:
        training: which training.
        folder: home folder of its runs.
        options: options of the networks and images, by dotted keys.
        micro_batch: images per domain and rank.
        steps: steps of each training.
    """
    setup = launch_setup(training, micro_batch)
    batch = micro_batch * setup.ranks
    fixed = {
        **NO_SIDE_WORK,
        "optim.batch_size": batch,
        "data.workers": 0,  # with as many ranks as cores, workers would slow down other ranks
        "method.discriminator.n_layers_D": 3,
        "schedule.n_epochs": 1000,
        "every.log": steps // POINTS * batch,
        "stop_after": steps * batch,
    }
    numbers = itertools.count()
    return lambda: step_s(run(folder, setup, "demo", f"{training}-{next(numbers)}", {**options, **fixed}))
