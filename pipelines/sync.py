"""Send to MLflow what a run or a sweep has not sent.

    python -m pipelines.sync RUN_DIR

For trainings that died, or whose server could not be reached. All is sent to the MLflow store that it belongs to: the
one to which it was first sent, which `mlflow.json` in its folder names. MLFLOW_TRACKING_URI says where a run goes that
was never sent.
"""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.errors import UsageError, run_command


@dataclass(frozen=True)
class Sync:
    """Send to MLflow what a run or a sweep has not sent."""

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """Folder of the run or of the sweep."""


def main() -> None:
    """Read the command line and send."""
    run_dir = parse_options(Sync, "sync", __doc__).run_dir.absolute()
    if not run_dir.is_dir():
        raise UsageError(f"{run_dir} is not a folder: give the folder of a run or of a sweep")
    from cyclegan_dist.storage.layout import RunFolder
    from cyclegan_dist.tracking.sender_state import SenderState
    from cyclegan_dist.training.sender import sync  # loads what reads a run, and then mlflow

    everything_written = threading.Event()
    everything_written.set()
    before = SenderState.read(run_dir)
    sync(run_dir, everything_written)
    after = SenderState.read(run_dir)
    where = f"run {after.run_id} of {after.store}"
    if not after.run_id:
        print(f"{run_dir} has nothing to send: its training ended before the first record")
    elif after == before and not RunFolder(run_dir).sweep_journal.exists():  # a sweep is sent as a whole each time
        print(f"nothing is left to send: all of {run_dir} is in MLflow, {where}")
    else:
        print(f"sent {run_dir} to MLflow, {where}")
    refused = RunFolder(run_dir).refused
    if refused.exists():
        print(f"{refused} keeps what MLflow refused, with the reasons")


if __name__ == "__main__":
    run_command(main)
