"""Compare runs: configurations, curves, figures of the same images.

    python -m pipelines.compare RUN RUN ... [--data DATA] [--split test] [--out FOLDER]

Sources are runs, snapshots, or registered models: models:/NAME@champion. Shows what their configurations differ in,
data, commit, device and time, and their curves over each other, without loading a model. With --data each is evaluated
on these images, which should be ones that were not trained on: figures with 95 % intervals, differences from the first
run with theirs, and translations side by side. Evaluations are kept, so that repeating costs nothing. Runs of other
data or domains are compared too, and a note says so. Results go to a page and to comparison.json in FOLDER.
"""

from collections.abc import Callable
from functools import partial

from rich.console import Console

from cyclegan_dist.comparison.options import Compare
from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.data.location import data_path
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.registry.sources import refuse_missing_source


def main() -> None:
    """Read the command line, compare, and print."""
    command = parse_options(Compare, "compare", __doc__)
    if len(command.sources) < 2:
        raise UsageError("give two or more folders of runs or snapshots, or models:/NAME@ALIAS")
    for source in command.sources:
        refuse_missing_source(source)
    if command.data:
        data_path(command.data, command.split)
    elif command.split:
        raise UsageError(f"--split {command.split}: give --data, the data set that has this part")
    from cyclegan_dist.comparison.command import run  # loads what reads runs

    report: Callable[[str], object] = partial(Console(stderr=True).print, soft_wrap=True, markup=False, highlight=False)
    run(command, report)


if __name__ == "__main__":
    run_command(main)
