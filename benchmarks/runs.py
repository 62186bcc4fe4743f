"""Training runs from the command line, for figures that cannot be measured within one process."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LAUNCHERS = {
    "one process": [sys.executable, "-m", "cyclegan_dist.train"],
    "torchrun": [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node={ranks}",
        "-m",
        "cyclegan_dist.train",
    ],
    "Ray Train": [sys.executable, "-m", "cyclegan_dist.train"],
}
# Options of timed trainings: no logging of images, snapshots, checkpoints or MLflow between steps.
NO_SIDE_WORK = {
    "world.threads": 1,
    "every.samples": 0,
    "every.snapshot": 0,
    "every.checkpoint": 0,
    "tracking.mlflow": False,
}


@dataclass(frozen=True)
class LaunchSetup:
    """A launcher, a number of ranks and additional options, by dotted keys."""

    launcher: str
    ranks: int
    options: Mapping[str, Any] = field(default_factory=dict)

    def command(self, preset: str, options: Mapping[str, Any]) -> list[str]:
        """The command line."""
        launcher = {"launcher": "local"} if self.launcher == "one process" else {}
        ranks = {"world.num_workers": self.ranks} if self.launcher == "Ray Train" else {}
        chosen = {**options, **launcher, **ranks, **self.options}
        words = [word.format(ranks=self.ranks) for word in LAUNCHERS[self.launcher]]
        return [*words, preset, *(word for key, value in chosen.items() for word in (f"--{key}", str(value)))]


def run(folder: Path, setup: LaunchSetup, preset: str, name: str, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Train, and return the journal's records.

    Raises:
        RuntimeError: with the end of its output, if the training fails.
    """
    variables = {**os.environ, "CYCLEGAN_DIST_HOME": str(folder), "RAY_USAGE_STATS_ENABLED": "0"}
    command = setup.command(preset, {"name": name, **options})
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    lines = (folder / "runs" / name / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def step_s(journal: list[dict[str, Any]], skip: int = 1) -> float:
    """Wall-clock seconds per step, without the first `skip` points."""
    points = [record for record in journal if record["kind"] == "metrics"][skip:]
    first, last = points[0], points[-1]
    return (last["time"] - first["time"]) / 1000 / (last["step"] - first["step"])
