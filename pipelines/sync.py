"""Send to MLflow and others what a run or a sweep has not sent.

    python -m pipelines.sync RUN_DIR [--tensorboard] [--wandb PROJECT]

For trainings that died, or whose server could not be reached. All is sent to the MLflow store that it belongs to: the
one to which it was first sent, which `mlflow.json` in its folder names. MLFLOW_TRACKING_URI says where a run goes that
was never sent. A run is also sent to TensorBoard and Weights & Biases, if its configuration or an option names them,
and its alerts to where they are sent.
"""

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.errors import UsageError, run_command


@dataclass(frozen=True)
class Sync:
    """Send what a run or a sweep has not sent."""

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """Folder of the run or of the sweep."""
    mlflow: bool = True
    """Send it to MLflow. A sweep is always sent there, and nowhere else."""
    tensorboard: bool = False
    """Write the event file of a run that was trained without `tracking.tensorboard`."""
    wandb: str = ""
    """Project of Weights & Biases, of a run that was trained without `tracking.wandb`."""
    alerts: bool = True
    """Send alerts of the last day that were not taken, where the run's options or the environment say where to."""


def main() -> int:
    """Read the command line and send."""
    command = parse_options(Sync, "sync", __doc__)
    run_dir = command.run_dir.absolute()
    if not run_dir.is_dir():
        raise UsageError(f"{run_dir} is not a folder: give the folder of a run or of a sweep")
    from cyclegan_dist.alerts.delivery import places
    from cyclegan_dist.storage.layout import RunFolder
    from cyclegan_dist.training.alerting import NO_ALERTS, alerts_of
    from cyclegan_dist.training.run_folder import read_config  # loads what reads a run
    from cyclegan_dist.training.sender import send

    folder = RunFolder(run_dir)
    is_sweep = folder.sweep_journal.exists()
    if is_sweep and (command.tensorboard or command.wandb or not command.mlflow):
        raise UsageError(f"{run_dir} is a sweep, which is sent to MLflow only: give the folder of one of its trials")
    everything_written = threading.Event()
    everything_written.set()
    config = read_config(run_dir)
    kept, alerts = config.tracking, alerts_of(config) if command.alerts and not is_sweep else NO_ALERTS
    others = {"tensorboard": kept.tensorboard or command.tensorboard, "wandb": command.wandb or kept.wandb}
    sent_to_others = True
    if (any(others.values()) or alerts.destinations) and not is_sweep:
        sent_to_others = send(run_dir, replace(kept, mlflow=False, **others), everything_written, alerts)
        if others["tensorboard"] and folder.event_files.is_dir():
            print(f"event file for TensorBoard: {folder.event_files}")
        if alerts.destinations and sent_to_others:
            print(f"no alert is left to send to {places(alerts)}")
    if command.mlflow:
        _send_to_mlflow(run_dir, everything_written)
    return 0 if sent_to_others else 2


def _send_to_mlflow(run_dir: Path, everything_written: threading.Event) -> None:
    from cyclegan_dist.storage.layout import RunFolder
    from cyclegan_dist.tracking.sender_state import SenderState
    from cyclegan_dist.training.sender import sync

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
