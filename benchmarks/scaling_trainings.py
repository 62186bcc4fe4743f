"""The trainings that are timed against each other, as the command line starts them."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from benchmarks.runs import NOTHING_BESIDE, Arrangement, run, step_s

POINTS = 5  # of the journal, between which steps are timed
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
# What something costs: a training with it against the same without. Two ranks leave no core of two to anything else.
COSTS: list[tuple[Training, Training]] = [
    ("torchrun-1", "one"),
    ("ray-1", "one"),
    ("ray-2", "torchrun-2"),
    ("mlflow", "torchrun-2"),
    ("checkpoints", "torchrun-2"),
]


def arrangement(training: Training, micro_batch: int) -> Arrangement:
    """How a training is started."""
    match training:
        case "one":
            return Arrangement("one process", 1)
        case "torchrun-1" | "torchrun-2" | "torchrun-4":
            return Arrangement("torchrun", int(training[-1]))
        case "ray-1" | "ray-2":
            return Arrangement("Ray Train", int(training[-1]))
        case "mlflow":
            return Arrangement("torchrun", 2, {"tracking.mlflow": True})
        case "checkpoints":
            return Arrangement("torchrun", 2, {"every.checkpoint": CHECKPOINT_STEPS * 2 * micro_batch})


def timed(
    training: Training, folder: Path, options: dict[str, Any], micro_batch: int, steps: int
) -> Callable[[], float]:
    """A work for `alternate`: a new training in `folder`, seconds of its step.

    Args:
        training: which.
        folder: of its runs.
        options: of the networks and images, by dotted keys.
        micro_batch: images per domain and rank.
        steps: of each training.
    """
    started = arrangement(training, micro_batch)
    batch = micro_batch * started.ranks
    settled = {
        **NOTHING_BESIDE,
        "optim.batch_size": batch,
        "data.workers": 0,  # with as many ranks as cores they would take the cores of other ranks
        "method.discriminator.n_layers_D": 3,
        "schedule.n_epochs": 1000,
        "every.log": steps // POINTS * batch,
        "stop_after": steps * batch,
    }
    numbers = itertools.count()
    return lambda: step_s(run(folder, started, "demo", f"{training}-{next(numbers)}", {**options, **settled}))
