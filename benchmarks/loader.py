"""Loader against yardstick on the same images, in one run: images a second of one core.

    python -m benchmarks.loader A_DIR B_DIR [--count 150] [--rounds 7]

All read, decode, resize to 286, crop 256, mirror and normalise, in this process with one thread, in turns (A B A B
...): the yardstick out of the folders; the project out of shards of the same files; and with `data.cache_gb`, in passes
after the first. A round is one pass. Files and shards were written just before, so that they are read from memory.
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

from benchmarks.machine import circumstances
from benchmarks.reference_loader import reference_loader
from benchmarks.rounds import alternate, ratios, with_quartiles
from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.data.loader import RankSlice, batches
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.data.plan import Plan
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.errors import UsageError, run_command

YARDSTICK, PROJECT = "yardstick", "project"


def pairs(dataset: Path, **config: Any) -> Iterable[object]:
    """The project's pairs in [-1, 1], without end."""
    manifest = open_manifest(str(dataset))
    plan, share, channels = Plan(manifest.samples, 0, 1), RankSlice(0, 1, 1), {"A": 3, "B": 3}
    settings = DataConfig(workers=0, **config)
    for batch in batches(manifest, plan, settings, share, first_step=0, multiple=4, channels=channels):
        yield batch.images(torch.device("cpu"), torch.float32, torch.contiguous_format)


def reference_pairs(folder_A: Path, folder_B: Path) -> Iterable[object]:
    """The yardstick's, without end."""
    while True:
        yield from reference_loader(folder_A, folder_B, 286, 256, workers=0)


def images_per_s(stream: Iterable[object], count: int) -> Callable[[], float]:
    """A work for `alternate`: `count` pairs, two images each."""
    endless = iter(stream)

    def work() -> float:
        began = time.perf_counter()
        for _ in itertools.islice(endless, count):
            pass
        return 2 * count / (time.perf_counter() - began)

    return work


def some(folder: Path, count: int, out: Path) -> Path:
    """A folder of the first images of another."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder: give one of images")
    out.mkdir()
    for path in sorted(path for path in folder.iterdir() if path.is_file())[:count]:
        shutil.copy(path, out)
    return out


def main(
    a_dir: tyro.conf.Positional[Path], b_dir: tyro.conf.Positional[Path], count: int = 150, rounds: int = 7
) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    print(circumstances("torchvision", "pillow"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        a, b = some(a_dir, count, folder / "A"), some(b_dir, count, folder / "B")
        prepare(PrepareConfig(a, b, folder / "data"))
        works = {
            YARDSTICK: reference_pairs(a, b),
            PROJECT: pairs(folder / "data"),
            f"{PROJECT}, data.cache_gb, after the first pass": pairs(folder / "data", cache_gb=4.0),
        }
        figures = alternate({name: images_per_s(stream, count) for name, stream in works.items()}, rounds)
    print("| loader | images of both domains a second on one core (quartiles) | times the yardstick (quartiles) |")
    print("|---|---|---|")
    for name, values in figures.items():
        times = with_quartiles(ratios(figures, name, YARDSTICK), ".2f")
        print(f"| {name} | {with_quartiles(values, '.0f')} | {times} |")


if __name__ == "__main__":
    run_command(lambda: tyro.cli(main, prog="python -m benchmarks.loader", description=__doc__))
