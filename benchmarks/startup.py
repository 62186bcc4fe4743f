"""Benchmark of start-up time.

    python -m benchmarks.startup [--rounds 5]

`--help` in a new process; and from the command to the first step, in one process, under torchrun, and under Ray Train
with two ranks on its own cluster, with the time at which each stage is reached. Ray's stages are recognised by the
processes that it starts.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tyro

from benchmarks.machine import environment
from benchmarks.process_starts import watch_process_starts
from benchmarks.rounds import alternate
from benchmarks.runs import LaunchSetup, run
from cyclegan_dist.errors import run_command

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "train --help": ["-m", "cyclegan_dist.train", "--help"],
    "train demo --dry_run": ["-m", "cyclegan_dist.train", "demo", "--dry_run"],
    "pipelines.prepare --help": ["-m", "pipelines.prepare", "--help"],
    "import torch": ["-c", "import torch"],
}
FIRST_STEP = {
    "one process": LaunchSetup("one process", 1),
    "torchrun, 2 ranks": LaunchSetup("torchrun", 2),
    "Ray Train, 2 ranks": LaunchSetup("Ray Train", 2),
}
RAY_STAGES = {  # substrings of command lines
    "Ray's head starts": "gcs_server",
    "Ray Train's controller starts": "ray::TrainController",
    "ranks start": "ray::RayTrainWorker",
}
JOURNAL_STAGES = ("ranks enter training", "first step done", "command returns")
OPTIONS = {"every.log": 4, "stop_after": 4, "every.samples": 0, "tracking.mlflow": False, "every.checkpoint": 0}


def seconds(words: list[str]) -> float:
    """Run time of a new interpreter with these arguments."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.perf_counter() - began


def stages(folder: Path, setup: LaunchSetup) -> dict[str, float]:
    """Seconds from the command to each stage."""
    name = f"{setup.launcher.replace(' ', '-')}-{time.monotonic_ns()}"
    began = time.time()
    with watch_process_starts(RAY_STAGES) as processes:
        journal = run(folder, setup, "demo", name, OPTIONS)
    returned = time.time()
    first = {record["kind"]: record["time"] / 1000 for record in reversed(journal)}
    reached = dict(zip(JOURNAL_STAGES, (first["run"], first["metrics"], returned), strict=True))
    return {stage: when - began for stage, when in {**processes, **reached}.items()}


def main(rounds: int = 5) -> None:
    """Measure and print."""
    print(environment("ray", "tyro"))
    taken = alternate({name: lambda words=words: seconds(words) for name, words in COMMANDS.items()}, rounds)
    print("| command | median s |\n|---|---|")
    for name, values in taken.items():
        print(f"| {name} | {statistics.median(values):.2f} |")
    with tempfile.TemporaryDirectory(prefix="startup") as folder:
        found = {name: list[dict[str, float]]() for name in FIRST_STEP}
        for number in range(rounds + 1):
            for name, setup in FIRST_STEP.items():
                reached = stages(Path(folder), setup)
                if number:  # the first round warms up the page cache
                    found[name].append(reached)
    print(f"\n| median seconds after the command | {' | '.join(FIRST_STEP)} |\n|---|{'---|' * len(FIRST_STEP)}")
    for stage in (*RAY_STAGES, *JOURNAL_STAGES):
        medians = [_median([each[stage] for each in runs if stage in each]) for runs in found.values()]
        print(f"| {stage} | {' | '.join(medians)} |")


def _median(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.1f}" if seconds else ""


if __name__ == "__main__":
    run_command(lambda: tyro.cli(main, prog="python -m benchmarks.startup", description=__doc__))
