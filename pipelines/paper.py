"""Train and measure the methods of a table of the paper.

    python -m pipelines.paper TABLE [--data DATA --palette PALETTE] [--dotted.key value ...]

The page shows them beside the paper's own figures. TABLE is a YAML file or a shipped table, table1 to table5, figure8
and facades, or several joined by +, which then share runs and page: table2+table3+table4+table5. DATA is a data set
with parts in DATA/test and DATA/val; without one, labelled street scenes are drawn. Options with a dot are values of
the config of all runs.

The runs are a sweep in RUNS_DIR/NAME, on the Ray cluster of RAY_ADDRESS or on one of this machine's own. Stopped or
killed, run the same command again: what is finished is not repeated. The page is RUNS_DIR/NAME/page/index.html, with
results.json and tables.md beside it. `--smoke` shows in minutes that all of it runs.
"""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro
from rich.console import Console

from cyclegan_dist.config.command_line import parse_with_overrides
from cyclegan_dist.config.shipped import read_shipped
from cyclegan_dist.data.location import data_path
from cyclegan_dist.errors import pipeline_command, run_command
from cyclegan_dist.paper.options import Options


@dataclass(frozen=True)
class Paper:
    """Train and measure the methods of a table of the paper."""

    table: tyro.conf.Positional[str]
    """Name of a shipped table, or YAML file; several joined by +."""
    options: Annotated[Options, tyro.conf.arg(name="")] = field(default_factory=Options)
    """What is not in the file."""


def paper(command: Paper, overrides: Mapping[str, Any]) -> int:
    """Do what is left of the runs, evaluate them, and write the page. Returns 0, or 128 + the number of the signal that
    stopped it.

    Raises:
        UsageError: for errors that the user can fix.
    """
    for table in command.table.split("+"):
        read_shipped(table, "table")  # refuses a wrong name before torch is loaded
    if command.options.data:
        data_path(command.options.data)
    from cyclegan_dist.paper.experiment import finish_experiment, prepare_experiment  # these load torch
    from cyclegan_dist.sweep.progress import SweepProgress
    from cyclegan_dist.sweep.results import send_results, write_results
    from cyclegan_dist.sweep.state import open_sweep

    report = Console(stderr=True, soft_wrap=True, markup=False, highlight=False).print
    experiment = prepare_experiment(command.table, command.options, overrides, report)
    spec = experiment.plan.spec
    with open_sweep(spec) as opened:
        print(f"{spec.trials} runs: {opened.folder}")
        stopped_by = 0
        if opened.has_more:
            from cyclegan_dist.orchestration.tuning import sweep_on_ray  # loads Ray

            images = opened.base.schedule.total_epochs * experiment.data.images
            with SweepProgress(spec, opened.record.trials, Console(), images) as progress:
                stopped_by = sweep_on_ray(opened, progress)
        write_results(opened)
        if opened.base.tracking.mlflow:
            send_results(opened.folder)
        if stopped_by:
            print(f"stopped: {opened.folder}; run the same command again to resume", file=sys.stderr)
            return 128 + stopped_by
        said = f"{pipeline_command('paper')} {shlex.join(sys.argv[1:])}"
        print(f"page: {finish_experiment(experiment, opened, said, report)}")
    return 0


def main() -> int:
    """Read the command line and run."""
    return paper(*parse_with_overrides(Paper, "paper", __doc__))


if __name__ == "__main__":
    run_command(main)
