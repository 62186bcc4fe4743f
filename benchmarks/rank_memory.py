"""Benchmark of the estimated memory of ranks, against trainings from the command line.

    python -m benchmarks.rank_memory [--ranks 1 2 4 --size 128 --ngf 16 --workers 1 --batch 4 --precision fp32]

For each number of ranks under torchrun: the largest sum over the ranks and their loader processes of resident memory,
and of the share of it that each has (PSS: what processes share is divided among them). Resident memory of a loader
process counts its own pages only (USS), because it is forked from its rank, whose pages it shares.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import tyro

from benchmarks.machine import environment
from benchmarks.runs import NO_SIDE_WORK, LaunchSetup
from cyclegan_dist.config.config import load_config, with_values
from cyclegan_dist.errors import run_command
from cyclegan_dist.operations.doctor.footprint import footprint

SAMPLE_S = 0.2


def peaks(command: Sequence[str], folder: Path) -> tuple[float, float]:
    """Run torchrun; the largest sums of resident and of proportional memory, in bytes."""
    variables = {**os.environ, "CYCLEGAN_DIST_HOME": str(folder)}
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    most = [0.0, 0.0]
    while process.poll() is None:
        sums = [0.0, 0.0]
        try:
            ranks = psutil.Process(process.pid).children()
            for rank in ranks:
                memory = rank.memory_full_info()
                sums = [sums[0] + memory.rss, sums[1] + memory.pss]
                for loader in rank.children(recursive=True):
                    memory = loader.memory_full_info()
                    sums = [sums[0] + memory.uss, sums[1] + memory.pss]
        except psutil.Error:
            continue  # one of them has ended meanwhile
        most = [max(before, now) for before, now in zip(most, sums, strict=True)]
        time.sleep(SAMPLE_S)
    if process.returncode:
        raise RuntimeError(process.communicate()[1][-2000:])
    return most[0], most[1]


def main(
    ranks: tuple[int, ...] = (1, 2, 4),
    size: int = 128,
    ngf: int = 16,
    workers: int = 1,
    batch: int = 4,
    precision: str = "fp32",
) -> None:
    """Measure and print."""
    options = {
        **NO_SIDE_WORK,
        "data.path": "synthetic",
        "data.load_size": size,
        "data.crop_size": size,
        "data.workers": workers,
        "method.generator.ngf": ngf,
        "method.discriminator.ndf": ngf,
        "optim.batch_size": batch,
        "optim.precision": precision,
        "every.compare": 0,
        "stop_after": 4 * batch,
        "world.device": "cpu",
    }
    print(environment("psutil"))
    print("| ranks | estimated, GB | resident | difference | proportional | difference |\n|" + " ---: |" * 6)
    config = with_values(load_config("horse2zebra"), options, "options")
    with tempfile.TemporaryDirectory() as folder:
        for count in ranks:
            command = LaunchSetup("torchrun", count).command("horse2zebra", {**options, "name": f"ranks{count}"})
            found = peaks(command, Path(folder))
            expected = footprint(config, count, {}, on_gpu=False).on_node(count)
            cells = " | ".join(f"{value / 1e9:.2f} | {100 * (expected / value - 1):+.0f} %" for value in found)
            print(f"| {count} | {expected / 1e9:.2f} | {cells} |", flush=True)


if __name__ == "__main__":
    run_command(lambda: tyro.cli(main, description=__doc__))
