"""Loader against yardstick on the same images, in one run: images a second of one core.

    python -m benchmarks.loader A_DIR B_DIR [--count 300] [--rounds 7]

Both read, decode, resize to 286, crop 256, mirror and normalise, in this process with one thread, in turns
(A B A B ...); medians, and the median of the ratios of neighbours, which a machine's mood touches least.
"""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import tyro

from benchmarks.reference_loader import reference_loader
from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.data.loader import Share, batches
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.data.plan import Plan
from pipelines.prepare import Prepare, prepare


def ours(dataset: Path, count: int) -> None:
    """Draw `count` pairs from shards."""
    manifest, config = open_manifest(str(dataset)), DataConfig(workers=0)
    plan, share, channels = Plan(manifest.samples, 0, 1), Share(0, 1, 1), {"A": 3, "B": 3}
    stream = batches(manifest, plan, config, share, first_step=0, multiple=4, channels=channels)
    for batch in itertools.islice(stream, count):
        batch.images(torch.device("cpu"), torch.float32, torch.contiguous_format)


def yardstick(folder_A: Path, folder_B: Path, count: int) -> None:
    """Draw `count` pairs from folders."""
    for _ in itertools.islice(reference_loader(folder_A, folder_B, 286, 256, workers=0), count):
        pass


def images_per_s(work: Callable[[], None], count: int) -> float:
    """Two images for each pair."""
    began = time.perf_counter()
    work()
    return 2 * count / (time.perf_counter() - began)


def main(
    a_dir: tyro.conf.Positional[Path], b_dir: tyro.conf.Positional[Path], count: int = 300, rounds: int = 7
) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        prepare(Prepare(a_dir, b_dir, Path(folder) / "data"))
        runs: list[tuple[float, float]] = []
        for number in range(rounds + 1):
            pair = (
                images_per_s(lambda: ours(Path(folder) / "data", count), count),
                images_per_s(lambda: yardstick(a_dir, b_dir, count), count),
            )
            if number:  # the first round warms caches up
                runs.append(pair)
                print(f"round {number}: ours {pair[0]:.0f}, yardstick {pair[1]:.0f} images/s")
    ratio = statistics.median(a / b for a, b in runs)
    medians = [statistics.median(column) for column in zip(*runs, strict=True)]
    print(f"medians: ours {medians[0]:.0f}, yardstick {medians[1]:.0f} images/s on one core; ratio {ratio:.2f}")


if __name__ == "__main__":
    tyro.cli(main, prog="python -m benchmarks.loader", description=__doc__)
