"""How long users wait before something happens.

    python -m benchmarks.startup [--rounds 5]

`--help` in a fresh process; and from the command to the first step, in one process, under torchrun, and under Ray Train
with two ranks on a cluster of its own, with the seconds at which each stage was reached: Ray's by the processes that it
starts.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tyro

from benchmarks.machine import circumstances
from benchmarks.process_starts import births
from benchmarks.rounds import alternate
from benchmarks.runs import Arrangement, run
from cyclegan_dist.errors import run_command

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "train --help": ["-m", "cyclegan_dist.train", "--help"],
    "train demo --dry_run": ["-m", "cyclegan_dist.train", "demo", "--dry_run"],
    "pipelines.prepare --help": ["-m", "pipelines.prepare", "--help"],
    "import torch": ["-c", "import torch"],
}
FIRST_STEP = {
    "one process": Arrangement("one process", 1),
    "torchrun, 2 ranks": Arrangement("torchrun", 2),
    "Ray Train, 2 ranks": Arrangement("Ray Train", 2),
}
RAYS = {  # by part of a process's command line
    "Ray's head starts": "gcs_server",
    "Ray Train's controller starts": "ray::TrainController",
    "ranks start": "ray::RayTrainWorker",
}
JOURNALS = ("ranks enter training", "first step done", "command is back")
OPTIONS = {"every.log": 4, "stop_after": 4, "every.samples": 0, "tracking.mlflow": False, "every.checkpoint": 0}


def seconds(words: list[str]) -> float:
    """Of a fresh interpreter with these arguments."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.perf_counter() - began


def stages(folder: Path, arrangement: Arrangement) -> dict[str, float]:
    """Seconds after the command at which each stage was reached."""
    name = f"{arrangement.launcher.replace(' ', '-')}-{time.monotonic_ns()}"
    began = time.time()
    with births(RAYS) as processes:
        journal = run(folder, arrangement, "demo", name, OPTIONS)
    back = time.time()
    first = {record["kind"]: record["time"] / 1000 for record in reversed(journal)}
    reached = dict(zip(JOURNALS, (first["run"], first["metrics"], back), strict=True))
    return {stage: when - began for stage, when in {**processes, **reached}.items()}


def main(rounds: int = 5) -> None:
    """Measure and print."""
    print(circumstances("ray", "tyro"))
    taken = alternate({name: lambda words=words: seconds(words) for name, words in COMMANDS.items()}, rounds)
    print("| command | median s |\n|---|---|")
    for name, values in taken.items():
        print(f"| {name} | {statistics.median(values):.2f} |")
    with tempfile.TemporaryDirectory(prefix="startup") as folder:
        found = {name: list[dict[str, float]]() for name in FIRST_STEP}
        for number in range(rounds + 1):
            for name, arrangement in FIRST_STEP.items():
                reached = stages(Path(folder), arrangement)
                if number:  # the first round warms the file system's cache up
                    found[name].append(reached)
    print(f"\n| median seconds after the command | {' | '.join(FIRST_STEP)} |\n|---|{'---|' * len(FIRST_STEP)}")
    for stage in (*RAYS, *JOURNALS):
        medians = [_median([each[stage] for each in runs if stage in each]) for runs in found.values()]
        print(f"| {stage} | {' | '.join(medians)} |")


def _median(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.1f}" if seconds else ""


if __name__ == "__main__":
    run_command(lambda: tyro.cli(main, prog="python -m benchmarks.startup", description=__doc__))
