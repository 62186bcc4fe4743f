"""Results of a sweep: its trials ranked, as a table, CSV and JSON, and the best config as YAML."""

import csv
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from cyclegan_dist.config.begun import as_begun
from cyclegan_dist.config.config import dump_config
from cyclegan_dist.errors import pipeline_command
from cyclegan_dist.sweep.config import SweepConfig
from cyclegan_dist.sweep.record import Trial
from cyclegan_dist.sweep.state import Sweep
from cyclegan_dist.training.run_folder import read_config

BEST, CSV, JSON = "best.yaml", "results.csv", "trials.json"
MLFLOW_TIMEOUT_S = 120.0


def ranked(spec: SweepConfig, trials: Iterable[Trial]) -> list[Trial]:
    """The best first. Finished trials come before stopped ones, and those by the images they have seen, because values
    of early and of late training cannot be compared.
    """

    def place(trial: Trial) -> tuple[int, int, float, int]:
        finished = trial.status == "finished"
        lost = trial.status in ("diverged", "failed", "crashed") or trial.value is None
        value = (trial.value or 0.0) * (1 if spec.mode == "min" else -1)
        return (2 * lost + (not finished), 0 if finished else -trial.nimg, value, trial.number)

    return sorted(trials, key=place)


def best(spec: SweepConfig, trials: Iterable[Trial]) -> Trial | None:
    """The best trial, or None while it has not ended, or if all failed."""
    first = next(iter(ranked(spec, trials)), None)
    return first if first is not None and first.value is not None and first.status in ("finished", "cut") else None


def number(value: float | None) -> str:
    """A metric's value as text for people."""
    return "-" if value is None else f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 else f"{value:.3g}"


def short(key: str) -> str:
    """The last part of a key of the space; of joined keys with a common stem, the stem once."""
    first, *others = (part.strip().rpartition(".")[2] for part in key.split(","))
    stem = "".join(first.rpartition("_")[:2])
    return ",".join([first, *(other.removeprefix(stem) for other in others)])


def described(values: Mapping[str, Any]) -> str:
    """A trial's values on one line."""
    return " ".join(f"{short(key)}={_shown(value)}" for key, value in values.items())


def _shown(value: Any) -> str:
    return "none" if value == "" else str(value)


def table(
    console: Console, spec: SweepConfig, trials: Sequence[Trial], title: str, running: Mapping[int, int] | None = None
) -> Table:
    """The trials in the order given, with a column for each key if the console is wide enough. `running` are the images
    that running trials have seen by now.
    """
    running = running or {}
    for keys in (list(spec.space), []):
        out = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for name in ("trial", "status", "images", spec.metric):
            out.add_column(name, justify="left" if name in ("trial", "status") else "right", no_wrap=True)
        for key in [short(key) for key in keys] or ["values"]:
            out.add_column(key)
        for trial in trials:
            status = "runs" if trial.number in running else "unfinished" if trial.status == "open" else trial.status
            images = str(running.get(trial.number, trial.nimg))
            values = [_shown(trial.values.get(key, "")) for key in keys] or [described(trial.values)]
            out.add_row(trial.name, status, images, number(trial.value), *values)
        if Measurement.get(console, console.options.update(max_width=sys.maxsize), out).maximum <= console.width:
            break
    return out


def write_results(sweep: Sweep) -> Trial | None:
    """Write results.csv, trials.json and best.yaml into the sweep's folder. Returns the best trial, if there is one."""
    spec, trials = sweep.spec, ranked(sweep.spec, sweep.record.trials.values())
    winner = best(spec, trials)
    with (sweep.folder / CSV).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "status", "images", spec.metric, *spec.space, "crashes", "text"])
        for trial in trials:
            values = [trial.values.get(key) for key in spec.space]
            writer.writerow([trial.name, trial.status, trial.nimg, trial.value, *values, trial.crashes, trial.text])
    tree = {
        "sweep": spec.name,
        "key": sweep.record.key,
        "is_over": len(trials) >= spec.trials and all(trial.status != "open" for trial in trials),
        "metric": spec.metric,
        "mode": spec.mode,
        "best": winner.name if winner else None,
        "trials": [
            {**dataclasses.asdict(trial), "results": _results(sweep, trial), "name": trial.name} for trial in trials
        ],
    }
    (sweep.folder / JSON).write_text(json.dumps(tree, indent=1))
    if winner is not None:
        _write_best(sweep, winner)
    return winner


def send_results(folder: Path) -> None:
    """Send the results of the sweep in `folder` to MLflow in a separate process, which is ended after a timeout if the
    server does not answer. What did not reach it is said on standard error.
    """
    command = [sys.executable, "-m", "cyclegan_dist.training.sender", str(folder)]
    try:
        code = subprocess.run(command, timeout=MLFLOW_TIMEOUT_S, env=os.environ | {"OMP_NUM_THREADS": "1"}).returncode
    except subprocess.TimeoutExpired:
        code = 1
    if code:
        retry = f"{pipeline_command('sync')} {folder}"
        print(f"not everything reached MLflow; send the rest with: {retry}", file=sys.stderr)


def _results(sweep: Sweep, trial: Trial) -> list[dict[str, float]]:
    batch_size = sweep.config(trial).optim.batch_size if trial.results else 1
    return [{"nimg": nimg, "step": nimg // batch_size, "value": value} for nimg, value in trial.results.items()]


def _write_best(sweep: Sweep, trial: Trial) -> None:
    """Write the config of a trial, with the whole schedule, as a separate run next to the sweep."""
    trained = read_config(sweep.folder / trial.name)
    config = as_begun(sweep.spec.config(trial.values), trained)
    path = config.data.path if config.data.path == "synthetic" else trained.data.path
    data = dataclasses.replace(config.data, path=path)
    config = dataclasses.replace(config, name=f"{sweep.spec.name}-best", data=data, held_out=trained.held_out)
    why = f"{trial.name} of sweep {sweep.spec.name}: {sweep.spec.metric} {number(trial.value)} at {trial.nimg} images"
    (sweep.folder / BEST).write_text(f"# {why}\n{dump_config(config)}")
