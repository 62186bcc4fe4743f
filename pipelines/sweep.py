"""Train many configs, stop those that fall behind, find the best.

    python -m pipelines.sweep SWEEP [--base PRESET_or_YAML] [--dotted.key value ...]

Options with a dot are values of the config that all trials share, such as --data.path data/horse2zebra.

SWEEP is a YAML file or the name of a shipped sweep: default, ablations. Trials are separate runs, in folders such as
RUNS_DIR/NAME/trial-0000, on the Ray cluster of RAY_ADDRESS or on one of this machine's own. Ctrl-C stops them with a
checkpoint; run the same command again to resume. At the end RUNS_DIR/NAME holds results.csv, trials.json, two pictures
and best.yaml, which cyclegan_dist.train takes as it is.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tyro
from rich.console import Console

from cyclegan_dist.config.command_line import parse_with_overrides
from cyclegan_dist.errors import UsageError, run_command, train_command
from cyclegan_dist.sweep.spec import load_sweep

if TYPE_CHECKING:
    from cyclegan_dist.sweep.config import SweepConfig
    from cyclegan_dist.sweep.record import Trial
    from cyclegan_dist.sweep.state import Sweep


@dataclass(frozen=True)
class Command:
    """Try many configs, and find the best."""

    sweep: tyro.conf.Positional[str]
    """YAML file, or name of a shipped sweep."""
    base: str = ""
    """Preset or YAML file to start from, instead of the sweep's."""
    name: str = ""
    """Name of the sweep, instead of the file's."""
    dry_run: bool = False
    """Print the trials that would be drawn without knowing any result, and stop."""


def sweep(command: Command, overrides: Mapping[str, Any]) -> int:
    """Run what is left of the sweep, with `overrides` in all trials. Returns 0, or 128 + the number of the signal
    that stopped it.

    Raises:
        UsageError: for errors that the user can fix.
    """
    named = {key: value for key, value in (("base", command.base), ("name", command.name)) if value}
    spec = load_sweep(command.sweep, {**named, "overrides": dict(overrides)})
    # These load numpy, pyarrow and Optuna.
    from cyclegan_dist.sweep.progress import SweepProgress
    from cyclegan_dist.sweep.sampling import draw_all
    from cyclegan_dist.sweep.state import open_sweep

    planned = draw_all(spec)
    console = Console()
    if command.dry_run:
        _print(console, spec, planned, f"{spec.name}: {len(planned)} of {spec.trials} trials are known beforehand")
        return 0
    with open_sweep(spec) as opened:
        stopped_by = 0
        if opened.has_more:
            from cyclegan_dist.orchestration.tuning import sweep_on_ray  # torch and Ray are loaded from here on

            with SweepProgress(spec, opened.record.trials, console) as progress:
                stopped_by = sweep_on_ray(opened, progress)
        return _report(opened, stopped_by, console)


def _report(opened: "Sweep", signal_number: int, console: Console) -> int:
    """Write the results into the sweep's folder, send them to MLflow, and print them."""
    from cyclegan_dist.sweep.results import BEST, ranked, send_results, write_results

    spec, folder = opened.spec, opened.folder
    best = write_results(opened)
    if spec.metric:
        from cyclegan_dist.sweep.pictures import draw_history, draw_parallel  # matplotlib is loaded from here on

        draw_history(opened.record, folder)
        draw_parallel(opened.record, folder)
    if opened.base.tracking.mlflow:
        send_results(folder)
    trials = ranked(spec, opened.record.trials.values())
    _print(console, spec, trials, f"{spec.name}: {len(trials)} of {spec.trials} trials, best first")
    if signal_number:
        print(f"stopped: {folder}; run the same command again to resume", file=sys.stderr)
        return 128 + signal_number
    if best is None and spec.metric:
        raise UsageError(f"no trial has a value of {spec.metric}: {folder / 'results.csv'} says how each ended")
    if best is not None:
        print(f"best: {best.name}; train it with: {train_command()} {folder / BEST}")
    print(f"results: {folder}")
    return 0


def _print(console: Console, spec: "SweepConfig", trials: "Sequence[Trial]", title: str) -> None:
    """Print whole lines where the output is not a terminal."""
    from cyclegan_dist.sweep.results import table

    out = console if console.is_terminal else Console(width=240)
    out.print(table(out, spec, trials, title))


def main() -> int:
    """Read the command line and sweep."""
    return sweep(*parse_with_overrides(Command, "sweep", __doc__))


if __name__ == "__main__":
    run_command(main)
