"""Benchmark of the loader against the baseline on the same images: images per second on one core.

    python -m benchmarks.loader A_DIR B_DIR [--count 150] [--rounds 7]

All candidates read, decode, resize to 286, crop 256, mirror and normalise, in this process with one thread, in
alternating rounds (A B A B ...): the baseline from the folders, the project from shards of the same files, and the
project with `data.cache_gb` in passes after the first. A round is one pass. Files and shards are written just before,
so they are read from the page cache.
"""

import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import tyro

from benchmarks.machine import environment
from benchmarks.reference_loader import reference_loader
from benchmarks.rounds import alternate, ratios, with_quartiles
from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.data.loader import RankSlice, batches
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.data.plan import Plan
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.errors import UsageError, run_command

BASELINE, PROJECT = "baseline", "project"


def pairs(dataset: Path, **config: Any) -> Iterable[object]:
    """The project's pairs in [-1, 1], endlessly."""
    manifest = open_manifest(str(dataset))
    plan, share, channels = Plan(manifest.samples, 0, 1), RankSlice(0, 1, 1), {"A": 3, "B": 3}
    settings = DataConfig(workers=0, **config)
    for batch in batches(manifest, plan, settings, share, first_step=0, multiple=4, channels=channels):
        yield batch.images(torch.device("cpu"), torch.float32, torch.contiguous_format)


def reference_pairs(folder_A: Path, folder_B: Path) -> Iterable[object]:
    """The baseline's pairs, endlessly."""
    while True:
        yield from reference_loader(folder_A, folder_B, 286, 256, workers=0)


def images_per_s(stream: Iterable[object], count: int) -> Callable[[], float]:
    """A function for `alternate`: images per second over `count` pairs."""
    endless = iter(stream)

    def candidate() -> float:
        began = time.perf_counter()
        for _ in itertools.islice(endless, count):
            pass
        return 2 * count / (time.perf_counter() - began)

    return candidate


def first_images(folder: Path, count: int, out: Path) -> Path:
    """Copy the first images of a folder to `out`, and return it."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: give a folder of images")
    out.mkdir()
    for path in sorted(path for path in folder.iterdir() if path.is_file())[:count]:
        shutil.copy(path, out)
    return out


def main(
    a_dir: tyro.conf.Positional[Path], b_dir: tyro.conf.Positional[Path], count: int = 150, rounds: int = 7
) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    print(environment("torchvision", "pillow"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        a, b = first_images(a_dir, count, folder / "A"), first_images(b_dir, count, folder / "B")
        prepare(PrepareConfig(a, b, folder / "data"))
        candidates = {
            BASELINE: reference_pairs(a, b),
            PROJECT: pairs(folder / "data"),
            f"{PROJECT}, data.cache_gb, after the first pass": pairs(folder / "data", cache_gb=4.0),
        }
        figures = alternate({name: images_per_s(stream, count) for name, stream in candidates.items()}, rounds)
    print("| loader | images/s on one core, both domains (quartiles) | speed-up over baseline (quartiles) |")
    print("|---|---|---|")
    for name, values in figures.items():
        times = with_quartiles(ratios(figures, name, BASELINE), ".2f")
        print(f"| {name} | {with_quartiles(values, '.0f')} | {times} |")


if __name__ == "__main__":
    run_command(lambda: tyro.cli(main, prog="python -m benchmarks.loader", description=__doc__))
