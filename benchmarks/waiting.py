"""Benchmark of the share of a step that a rank waits for data, in real trainings from the command line.

    python -m benchmarks.waiting [--rounds 5]
    python -m benchmarks.waiting --folders A_DIR B_DIR [--count 24 --ngf 16]

The demo, or the paper's experiment at 256 px on the first images of two folders, with `ngf` channels; one rank with
one thread, in alternating rounds: the rank decodes, a worker process decodes, and the rank decodes with
`data.cache_gb`. The first pass is not measured.
"""

import itertools
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tyro

from benchmarks.loader import first_images
from benchmarks.machine import environment
from benchmarks.rounds import alternate, with_quartiles
from benchmarks.runs import NO_SIDE_WORK, LaunchSetup, run
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.errors import UsageError, run_command

LOADERS = {
    "the rank decodes (`data.workers 0`)": {"data.workers": 0},
    "one worker process": {"data.workers": 1},
    "the rank decodes, with `data.cache_gb`, after the first pass": {"data.workers": 0, "data.cache_gb": 4},
}
PASSES, POINTS = 2, 5  # passes over the data, and log points in each pass
DEMO_IMAGES = 400  # per domain


def share(journal: list[dict[str, Any]]) -> float:
    """Share of the step time spent waiting for data, in passes after the first."""
    points = [record["values"] for record in journal if record["kind"] == "metrics"]
    later = [values["perf/data_wait_frac"] for values in points if values["progress/epoch"] > 1]
    return statistics.mean(later)


def timed(folder: Path, preset: str, options: Mapping[str, Any], images: int) -> dict[str, Callable[[], float]]:
    """For each loader setting, a function for `alternate`: runs a new training and returns the share in per cent."""
    numbers = itertools.count()
    length = {"stop_after": PASSES * images, "every.log": images // POINTS}

    def candidate(loader: Mapping[str, Any]) -> Callable[[], float]:
        # The demo does not resize images, and the cache holds resized images only.
        chosen = {**NO_SIDE_WORK, "data.preprocess": "resize_and_crop", **options, **length, **loader}
        return lambda: 100 * share(run(folder, LaunchSetup("one process", 1), preset, f"{next(numbers)}", chosen))

    return {name: candidate(loader) for name, loader in LOADERS.items()}


def main(folders: tuple[Path, Path] | None = None, count: int = 24, ngf: int = 16, rounds: int = 5) -> None:
    """Measure and print."""
    if count < POINTS:
        raise UsageError(f"{count} images are too few to measure: give --count at least {POINTS}")
    print(environment("pillow"))
    with tempfile.TemporaryDirectory(prefix="waiting") as name:
        folder = Path(name)
        if folders:
            a, b = (first_images(path, count, folder / domain) for path, domain in zip(folders, "AB", strict=True))
            prepare(PrepareConfig(a, b, folder / "data"))
            options = {"data.path": folder / "data", "method.generator.ngf": ngf, "method.discriminator.ndf": ngf}
            candidates = timed(folder, "horse2zebra", options, count)
        else:
            candidates = timed(folder, "demo", {}, DEMO_IMAGES)
        figures = alternate(candidates, rounds, warm_up=False)
    print("| loader | waiting, % of a step (quartiles) |\n|---|---|")
    for name, values in figures.items():
        print(f"| {name} | {with_quartiles(values, '.2f')} |")


if __name__ == "__main__":
    run_command(lambda: tyro.cli(main, prog="python -m benchmarks.waiting", description=__doc__))
