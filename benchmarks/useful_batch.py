"""Images that the demo needs to reach a given quality, by batch and learning rate: the useful batch.

    python -m benchmarks.useful_batch [--seeds 3] [--batches 4 1 16 64] [--target 9] [--out docs/useful_batch.json]

Trains the demo's networks on its drawings at a constant learning rate, on one rank, and measures the error against the
true translations of held-out drawings, in grey levels of 255, mean of both directions, every `every` images. A run ends
at the target, or at `most_images`. The averaged generators are measured; their average decays by the same per image
at every batch.

In the model of McCandlish et al. (2018, arXiv 1812.06162) batch B needs S = S_min (1 + noise_scale / B) updates, so
that images are proportional to B + noise_scale; at the noise scale the target costs twice the fewest updates and twice
the fewest images. It is fitted by least squares of the images' logarithms; the interval is that of the F test.

`none` keeps the demo's learning rate at every batch; `sqrt` multiplies it with the square root of the batch relative to
the demo's, 4.
"""

import dataclasses
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.stats
import torch
import tyro
from torch import Tensor

from benchmarks.machine import environment
from cyclegan_dist.config.config import load_config
from cyclegan_dist.data.synthetic import draw_scene
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.update import Step
from cyclegan_dist.storage.files import write_atomic

DEMO = load_config("demo")
TRAINING, HELD_OUT = 400, 24  # drawings of each domain
HELD_OUT_SEED = 1000  # differs from the seeds of the training drawings
CPU = torch.device("cpu")
EASIER = (10.0, 12.0, 15.0)  # grey levels, for which noise scales are printed too
NOISE_SCALES = np.geomspace(0.1, 10_000, 2001)  # searched

Point = tuple[int, float]
"""A batch, and the images that a training with it needed."""


@dataclass(frozen=True, kw_only=True)
class UsefulBatch:
    """Options of the measurement."""

    seeds: int = 3
    """Trainings for each batch and scaling, of the seeds 0, 1, ..."""
    batches: tuple[int, ...] = (4, 1, 16, 64)
    """Batches to measure, in this order."""
    scalings: tuple[Literal["none", "sqrt"], ...] = ("none", "sqrt")
    """Learning rates to measure."""
    size: int = DEMO.data.load_size
    """Side of the drawings in pixels."""
    target: float = 9.0
    """Error to reach, in grey levels."""
    every: int = 64
    """Images between two evaluations; at least one update."""
    most_images: int = 6400
    """Images after which a training is given up."""
    out: Path = Path("docs/useful_batch.json")
    """File for the results; one that exists is continued."""

    def __post_init__(self) -> None:
        if self.seeds < 1 or self.every < 1 or min(self.batches) < 1:
            raise UsageError("--seeds, --every and --batches must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training.

    Attributes:
        batch: images per domain and update.
        scaling: of the learning rate.
        seed: of weights, images and their order.
        images: images per domain until the target, interpolated between two evaluations; None if it was not reached.
        errors: at each evaluation, in grey levels.
        seconds: wall-clock time of the training.
    """

    batch: int
    scaling: str
    seed: int
    images: float | None
    errors: list[float]
    seconds: float


def scenes(seed: int, count: int, size: int) -> dict[str, Tensor]:
    """`real_A` and `real_B` of the same scenes: count x 3 x size x size in [-1, 1]."""
    drawn = [draw_scene(i, seed=seed, size=size) for i in range(count)]
    stacked = {d: np.stack([getattr(scene, d) for scene in drawn]) for d in "AB"}
    return {f"real_{d}": torch.from_numpy(x).permute(0, 3, 1, 2) / 127.5 - 1 for d, x in stacked.items()}


def train(batch: int, scaling: str, seed: int, options: UsefulBatch) -> Run:
    """Train until the target or `most_images`."""
    began = time.perf_counter()
    drawn = scenes(seed, 2 * TRAINING, options.size)
    domains = {"real_A": drawn["real_A"][::2], "real_B": drawn["real_B"][1::2]}  # unpaired, as the demo draws them
    truth = scenes(HELD_OUT_SEED, HELD_OUT, options.size)
    lr = DEMO.optim.lr * ((batch / DEMO.optim.batch_size) ** 0.5 if scaling == "sqrt" else 1.0)
    torch.manual_seed(seed)
    method = DEMO.method.build(rank_seed=seed)
    step = Step(method, dataclasses.replace(DEMO.optim, batch_size=batch), World(0, 1, CPU))
    order = np.random.default_rng(seed)
    queues = {name: np.empty(0, int) for name in domains}
    seen, errors, images = 0, [(0, error(step, truth))], None
    while images is None and seen < options.most_images:
        for name in queues:
            while len(queues[name]) < batch:
                queues[name] = np.concatenate([queues[name], order.permutation(TRAINING)])
        chosen = {name: domains[name][queue[:batch]] for name, queue in queues.items()}
        queues = {name: queue[batch:] for name, queue in queues.items()}
        mirrored = {name: torch.from_numpy(order.random(batch) < 0.5) for name in domains}
        step([{n: torch.where(mirrored[n][:, None, None, None], x.flip(-1), x) for n, x in chosen.items()}], lr)
        seen += batch
        if seen // options.every > (seen - batch) // options.every:
            errors.append((seen, error(step, truth)))
            images = crossing(errors, options.target)
    return Run(
        batch=batch,
        scaling=scaling,
        seed=seed,
        images=images,
        errors=[round(value, 2) for _, value in errors],
        seconds=round(time.perf_counter() - began, 1),
    )


@torch.no_grad()
def error(step: Step, truth: dict[str, Tensor]) -> float:
    """Mean absolute error of the translations in grey levels, mean of both directions."""
    directions = {"AB": ("real_A", "real_B"), "BA": ("real_B", "real_A")}
    differences = [
        (step.translators[way](truth[source]) - truth[target]).abs().mean()
        for way, (source, target) in directions.items()
    ]
    return 127.5 * float(torch.stack(differences).mean())


def crossing(errors: Sequence[tuple[int, float]], target: float) -> float | None:
    """Images at which the last two (images, error) cross the target, by linear interpolation; None if they do not."""
    (before, high), (now, low) = errors[-2:]
    if low > target:
        return None
    return before + (now - before) * (high - target) / (high - low) if high > low else float(now)


@dataclass(frozen=True)
class Fit:
    """The noise scale that fits best, with its interval of 95 %; `inf` where the images are not seen to grow."""

    noise_scale: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.noise_scale:.3g} ({self.low:.3g} - {self.high:.3g})"


def fit(points: Sequence[Point]) -> Fit:
    """Fit images = fewest (1 + batch / noise_scale).

    Raises:
        UsageError: for fewer than three points, or a single batch.
    """
    if len(points) < 3 or len({batch for batch, _ in points}) < 2:
        raise UsageError("a fit needs at least three trainings that reached the target, of two batches")
    batches, images = np.array(points, float).T
    deviations = np.log(images) - np.log1p(batches / NOISE_SCALES[:, None])  # from the fewest images' logarithm
    losses = ((deviations - deviations.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    freedom = len(points) - 2
    accepted = np.flatnonzero(losses <= losses.min() * (1 + scipy.stats.f.ppf(0.95, 1, freedom) / freedom))
    high = math.inf if accepted[-1] == len(NOISE_SCALES) - 1 else float(NOISE_SCALES[accepted[-1]])
    low = 0.0 if accepted[0] == 0 else float(NOISE_SCALES[accepted[0]])
    return Fit(float(NOISE_SCALES[losses.argmin()]), low, high)


def points(runs: Sequence[Run], scaling: str) -> list[Point]:
    """Of the trainings that reached the target. At the demo's batch all scalings are the same."""
    own = DEMO.optim.batch_size
    return [(run.batch, run.images) for run in runs if run.images and (run.scaling == scaling or run.batch == own)]


def best_points(runs: Sequence[Run]) -> list[Point]:
    """For each batch those of the scaling with the lower mean, among those whose trainings all reached the target."""
    found: list[Point] = []
    for batch in sorted({run.batch for run in runs}):
        of_batch = [run for run in runs if run.batch == batch]
        groups = [[r.images for r in of_batch if r.scaling == s] for s in {run.scaling for run in of_batch}]
        reached = [[images for images in group if images] for group in groups if all(group)]
        found += [(batch, images) for images in min(reached, key=statistics.mean, default=[])]
    return found


def report(runs: Sequence[Run], options: UsefulBatch) -> None:
    """Print the images of each batch and scaling, and the fits, also of targets that are reached earlier."""
    print("| batch | learning rate | images to the target, by seed | mean | updates |\n|---|---|---|---|---|")
    for batch, scaling in sorted({(run.batch, run.scaling) for run in runs}):
        images = [run.images for run in runs if (run.batch, run.scaling) == (batch, scaling)]
        listed = ", ".join("not reached" if each is None else f"{each:.0f}" for each in images)
        reached = [each for each in images if each is not None]
        mean = f"{statistics.mean(reached):.0f} | {statistics.mean(reached) / batch:.0f}" if reached else " | "
        print(f"| {batch} | {scaling} | {listed} | {mean} |")
    print(
        "\n| error to reach | "
        + " | ".join(f"noise scale, {name} (95 % interval)" for name in POINTS)
        + " |\n|---|---|---|---|"
    )
    for target in (options.target, *EASIER):
        found = [easier(run, target, options.every) for run in runs] if target > options.target else list(runs)
        print(f"| {target:g} | {' | '.join(_fitted(choose(found)) for choose in POINTS.values())} |")


def easier(run: Run, target: float, every: int) -> Run:
    """The same training with the images to a target that is easier to reach."""
    curve = [(i * max(every, run.batch), value) for i, value in enumerate(run.errors)]
    ends = (crossing(curve[: i + 1], target) for i in range(1, len(curve)))
    return dataclasses.replace(run, images=next((images for images in ends if images is not None), None))


def _fitted(found: Sequence[Point]) -> str:
    try:
        return str(fit(found))
    except UsageError as error:
        return str(error)


POINTS: Mapping[str, Callable[[Sequence[Run]], list[Point]]] = {
    "none": lambda runs: points(runs, "none"),
    "sqrt": lambda runs: points(runs, "sqrt"),
    "the better": best_points,
}


def main(options: UsefulBatch) -> None:
    """Measure what the file does not have yet, and print."""
    torch.set_num_threads(1)
    print(environment("scipy"))
    target = {name: getattr(options, name) for name in ("size", "target", "every", "most_images")}
    content: Mapping[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {**target, "runs": []}
    if {key: content[key] for key in target} != target:
        raise UsageError(f"{options.out} is of other options: give another --out")
    runs = [Run(**run) for run in content["runs"]]
    done = {(run.batch, run.scaling, run.seed) for run in runs}
    for seed in range(options.seeds):
        for scaling in options.scalings:
            for batch in options.batches:
                own = batch == DEMO.optim.batch_size and scaling != options.scalings[0]  # the same as the first
                if own or (batch, scaling, seed) in done:
                    continue
                runs.append(train(batch, scaling, seed, options))
                lines = ",\n".join(json.dumps(dataclasses.asdict(run)) for run in runs)
                write_atomic(options.out, json.dumps(target)[:-1] + f', "runs": [\n{lines}\n]}}\n')
    report(runs, options)


if __name__ == "__main__":
    run_command(lambda: main(tyro.cli(UsefulBatch, prog="python -m benchmarks.useful_batch", description=__doc__)))
