"""Send to MLflow what a run or a sweep has not sent, because it died or the server could not be reached.

python -m pipelines.sync RUN_DIR
"""

import threading
from dataclasses import dataclass
from pathlib import Path

import tyro

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.errors import UsageError, run_command


@dataclass(frozen=True)
class Sync:
    """Send to MLflow what a run or a sweep has not sent."""

    run_dir: tyro.conf.Positional[Path]
    """Folder of the run or of the sweep."""


def main() -> None:
    """Read the command line and send."""
    run_dir = parse_options(Sync, "sync", __doc__).run_dir.absolute()
    if not run_dir.is_dir():
        raise UsageError(f"{run_dir} is not a folder: give the folder of a run or of a sweep")
    from cyclegan_dist.training.sender import sync  # loads what reads a run, and then mlflow

    everything_written = threading.Event()
    everything_written.set()
    sync(run_dir, everything_written)


if __name__ == "__main__":
    run_command(main)
