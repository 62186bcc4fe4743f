"""Drill G38: sweeps whose trials fail."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import yaml

from cyclegan_dist.config.config import dump_config
from tests.faults.matrix import Measured, Stage, row

TIMEOUT_S = 1200.0
DIVERGES = 1e18  # a learning rate


@row(
    "G38",
    "trials of a sweep diverge: some of them, or all",
    "others finish; the table names each; some: exit code 0 and a best trial, all: exit code 2 in one line; the same command "
    "again starts nothing",
    nightly=True,
)
def failing_trials(stage: Stage) -> Measured:
    some, some_good = _sweep(stage, "some", [0.0002, DIVERGES], best=True)
    every, all_good = _sweep(stage, "all", [DIVERGES, 10 * DIVERGES], best=False)
    return Measured(f"some: {some}; all: {every}", some_good and all_good)


def _sweep(stage: Stage, name: str, rates: list[float], *, best: bool) -> tuple[str, bool]:
    base = stage.folder / "base.yaml"
    base.write_text(dump_config(stage.run(name="base")))
    tree = {"name": name, "base": str(base), "space": {"optim.lr": {"choice": rates}}, "sampler": "grid"}
    tree |= {"scheduler": "none", "metric": "loss/G", "max_images": 24}
    path = stage.folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(tree))
    command = [sys.executable, "-m", "pipelines.sweep", str(path)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_A")}
    done = [
        subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=Path(__file__).parents[2]
        )
        for _ in range(2)
    ]
    results = next(stage.folder.rglob(f"{name}/results.csv"))
    with results.open() as file:
        statuses = [line["status"] for line in csv.DictReader(file)]
    codes = [one.returncode for one in done]
    errors = [[line for line in one.stderr.splitlines() if line.startswith("error: ")] for one in done]
    noise = [line for one in done for line in one.stdout.splitlines() if line.startswith("Trial ")]
    trace = any("Traceback" in one.stderr + one.stdout for one in done)
    started = done[1].stdout.count(" starts: ")
    wanted = ["finished", "diverged"] if best else ["diverged", "diverged"]
    good = statuses == wanted and codes == ([0, 0] if best else [2, 2]) and not trace and not started and not noise
    text = (
        f"{', '.join(statuses)}; exit codes {codes}, errors {[len(lines) for lines in errors]}, started again {started}, "
        f"traceback {trace}, lines of Ray {len(noise)}"
    )
    return text, good and [len(lines) for lines in errors] == ([0, 0] if best else [1, 1])
