"""Real runs of the command line, for figures that a benchmark inside one process cannot give."""

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
# Of trainings whose steps are timed: nothing is done beside them.
NOTHING_BESIDE = {
    "world.threads": 1,
    "every.samples": 0,
    "every.snapshot": 0,
    "every.checkpoint": 0,
    "tracking.mlflow": False,
}


@dataclass(frozen=True)
class Arrangement:
    """Who starts how many ranks, with which options of their own, by dotted keys."""

    launcher: str
    ranks: int
    options: Mapping[str, Any] = field(default_factory=dict)

    def command(self, preset: str, options: Mapping[str, Any]) -> list[str]:
        """What a user would type."""
        launcher = {"launcher": "local"} if self.launcher == "one process" else {}
        ranks = {"world.num_workers": self.ranks} if self.launcher == "Ray Train" else {}
        chosen = {**options, **launcher, **ranks, **self.options}
        words = [word.format(ranks=self.ranks) for word in LAUNCHERS[self.launcher]]
        return [*words, preset, *(word for key, value in chosen.items() for word in (f"--{key}", str(value)))]


def run(
    folder: Path, arrangement: Arrangement, preset: str, name: str, options: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Train, and return the journal.

    Raises:
        RuntimeError: with the end of its output, if the training fails.
    """
    environment = {**os.environ, "CYCLEGAN_DIST_HOME": str(folder), "RAY_USAGE_STATS_ENABLED": "0"}
    command = arrangement.command(preset, {"name": name, **options})
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    lines = (folder / "runs" / name / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def step_s(journal: list[dict[str, Any]], skip: int = 1) -> float:
    """Seconds of a step by the clock on the wall, between the first points but `skip` and the last."""
    points = [record for record in journal if record["kind"] == "metrics"][skip:]
    first, last = points[0], points[-1]
    return (last["time"] - first["time"]) / 1000 / (last["step"] - first["step"])
