"""Measure runs and models by one protocol, and write a leaderboard.

    python -m pipelines.leaderboard RUN ... --data DATA [--features efficientnet_lite0 untrained] [--out OUT.md]

Each run's last snapshot and the one that is best on the images of DATA/val are measured on those of DATA/test. Runs
that differ in their seed only are one configuration: means, 95 % intervals and the number of runs. Evaluations are kept
in the runs' folders and not repeated: run the same command again after an interruption, or with more runs.
"""

import shlex
import sys
from collections.abc import Callable
from functools import partial

from rich.console import Console

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.data.location import data_path
from cyclegan_dist.errors import UsageError, pipeline_command, run_command
from cyclegan_dist.leaderboard.options import Leaderboard
from cyclegan_dist.registry.sources import refuse_missing_source


def main() -> None:
    """Read the command line, measure, and print where the page is."""
    command = parse_options(Leaderboard, "leaderboard", __doc__)
    if not command.sources:
        raise UsageError("give the folders of runs or snapshots, or models:/NAME@ALIAS")
    for source in command.sources:
        refuse_missing_source(source)
    data_path(command.data, command.split)
    from cyclegan_dist.leaderboard.board import run  # loads torch

    report: Callable[[str], object] = partial(Console(stderr=True).print, soft_wrap=True, markup=False, highlight=False)
    run(command, f"{pipeline_command('leaderboard')} {shlex.join(sys.argv[1:])}", report)
    print(f"page: {command.out}")


if __name__ == "__main__":
    run_command(main)
