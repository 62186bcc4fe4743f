"""How much of a step a rank waits for data, in real trainings by the command line.

    python -m benchmarks.waiting [--rounds 5]
    python -m benchmarks.waiting --folders A_DIR B_DIR [--count 24 --ngf 16]

The demo, or the paper's experiment at 256 px on the first images of two folders, with `ngf` channels; one rank, one
thread, in turns: the rank decodes for itself, a worker beside it does, and with `data.cache_gb`. Passes after the first
count.
"""

import itertools
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tyro

from benchmarks.loader import some
from benchmarks.machine import circumstances
from benchmarks.rounds import alternate, with_quartiles
from benchmarks.runs import NOTHING_BESIDE, Arrangement, run
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.errors import UsageError, run_command

WAYS = {
    "the rank decodes for itself": {"data.workers": 0},
    "one worker": {"data.workers": 1},
    "the rank, data.cache_gb": {"data.workers": 0, "data.cache_gb": 4},
}
PASSES, POINTS = 2, 5  # of the data, and of the journal in each
DEMO_IMAGES = 400  # of each domain


def share(journal: list[dict[str, Any]]) -> float:
    """Of the time of steps, what was spent waiting for data, in passes after the first."""
    points = [record["values"] for record in journal if record["kind"] == "metrics"]
    later = [values["perf/data_wait_frac"] for values in points if values["progress/epoch"] > 1]
    return statistics.mean(later)


def timed(folder: Path, preset: str, options: Mapping[str, Any], images: int) -> dict[str, Callable[[], float]]:
    """For each way, a work for `alternate`: a new training, per cent of its steps."""
    numbers = itertools.count()
    length = {"stop_after": PASSES * images, "every.log": images // POINTS}

    def work(way: Mapping[str, Any]) -> Callable[[], float]:
        # The demo's images are not resized, but only what would be can be kept.
        chosen = {**NOTHING_BESIDE, "data.preprocess": "resize_and_crop", **options, **length, **way}
        return lambda: 100 * share(run(folder, Arrangement("one process", 1), preset, f"{next(numbers)}", chosen))

    return {name: work(way) for name, way in WAYS.items()}


def main(folders: tuple[Path, Path] | None = None, count: int = 24, ngf: int = 16, rounds: int = 5) -> None:
    """Measure and print."""
    if count < POINTS:
        raise UsageError(f"{count} images are too few to look at: give --count at least {POINTS}")
    print(circumstances("pillow"))
    with tempfile.TemporaryDirectory(prefix="waiting") as name:
        folder = Path(name)
        if folders:
            a, b = (some(path, count, folder / domain) for path, domain in zip(folders, "AB", strict=True))
            prepare(PrepareConfig(a, b, folder / "data"))
            options = {"data.path": folder / "data", "method.generator.ngf": ngf, "method.discriminator.ndf": ngf}
            works = timed(folder, "horse2zebra", options, count)
        else:
            works = timed(folder, "demo", {}, DEMO_IMAGES)
        figures = alternate(works, rounds, warm_up=False)
    print("| data | % of a step (quartiles) |\n|---|---|")
    for name, values in figures.items():
        print(f"| {name} | {with_quartiles(values, '.2f')} |")


if __name__ == "__main__":
    run_command(lambda: tyro.cli(main, prog="python -m benchmarks.waiting", description=__doc__))
