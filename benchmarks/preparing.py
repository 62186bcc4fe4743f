"""Benchmark of `pipelines.prepare`: images/s with several numbers of processes, and memory with many images.

    python -m benchmarks.preparing A_DIR B_DIR [--workers 1 2 4] [--rounds 3]
    python -m benchmarks.preparing --images 10000 100000 [--workers 2]

With two folders these are prepared, in alternating rounds. With `--images` so many small JPEG files are prepared, half
of them of each domain: hard links to a thousand different ones, so that a million take no room. Memory is the sum over
all processes of the command, with shared pages counted once.
"""

import contextlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import tyro
from PIL import Image

from benchmarks.machine import environment
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.errors import UsageError, run_command

DIFFERENT = 1000  # files of each domain
POLL_S = 0.5


def main(
    folders: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="A_DIR B_DIR"), tyro.conf.Positional] = (),
    images: tuple[int, ...] = (),
    workers: tuple[int, ...] = (1, 2, 4),
    rounds: int = 1,
    side: int = 32,
    load_size: int | None = None,
    options: str = "",
) -> None:
    """Measure and print a table.

    Args:
        folders: of images of A and of B.
        images: numbers of small images instead.
        workers: processes that encode.
        rounds: of all numbers.
        side: of the small images in pixels.
        load_size: of `prepare`.
        options: others of `prepare`, as one text.
    """
    if (len(folders) == 2) == bool(images):
        raise UsageError("give A_DIR and B_DIR, or --images")
    print(environment("pillow", "pyarrow"))
    given = [*options.split(), *(["--load-size", str(load_size)] if load_size else [])]
    print(
        "| images | processes | images/s | seconds | processor ms/image | peak memory, MB | of the first process, MB |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="preparing") as folder:
        for count in images or (0,):
            a, b = folders if folders else _small_images(Path(folder) / str(count), count, side)
            found: dict[int, list[tuple[float, ...]]] = {number: [] for number in workers}
            out, samples = Path(folder) / "out", 0
            for _ in range(rounds):
                for number in workers:
                    found[number].append(_measured([str(a), str(b), str(out), "--workers", str(number), *given]))
                    samples = sum(open_manifest(str(out), ()).samples.values())
                    shutil.rmtree(out)
            for number, results in found.items():
                seconds, busy, peak, first = (statistics.median(values) for values in zip(*results, strict=True))
                row = f"{samples:,} | {number} | {samples / seconds:,.0f} | {seconds:.1f} | {1e3 * busy / samples:.2f}"
                print(f"| {row} | {peak:.0f} | {first:.0f} |", flush=True)
            if images:
                shutil.rmtree(Path(folder) / str(count))


def _small_images(folder: Path, count: int, side: int) -> list[Path]:
    """Two folders with half of the images each."""
    rng = np.random.default_rng(0)
    for domain in "AB":
        originals = folder / f"original{domain}"
        originals.mkdir(parents=True)
        for number in range(min(DIFFERENT, count // 2)):
            pixels = rng.integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(originals / f"{number}.jpg")
        for number in range(count // 2):
            target = folder / domain / f"{number // 10_000:03d}" / f"{number:07d}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(originals / f"{number % DIFFERENT}.jpg", target)
    return [folder / "A", folder / "B"]


def _measured(arguments: list[str]) -> tuple[float, ...]:
    """Seconds of the command, processor seconds of all its processes, and the largest memory in MB of all of them
    together and of the first one.
    """
    command = [sys.executable, "-m", "pipelines.prepare", *arguments]
    began, before, peak, first = time.perf_counter(), _processor_s(), 0.0, 0.0
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            sizes = []
            for one in (watched, *_children(watched)):
                with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    sizes.append(one.memory_full_info().pss / 1e6)
            if sizes:
                peak, first = max(peak, sum(sizes)), max(first, sizes[0])
            time.sleep(POLL_S)
        if process.returncode:
            errors.seek(0)
            raise UsageError(f"prepare failed: {errors.read()}")
    return time.perf_counter() - began, _processor_s() - before, peak, first


def _processor_s() -> float:
    """Of all processes that this one has waited for, and those that they have."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


if __name__ == "__main__":
    run_command(lambda: tyro.cli(main, prog="python -m benchmarks.preparing", description=__doc__))
