"""Options of tracking."""

import re
from dataclasses import dataclass

from cyclegan_dist.errors import UsageError

# Like run names, plus folders, as on Databricks: /Users/someone@example.com/horses
EXPERIMENT = r"/?[A-Za-z0-9][A-Za-z0-9 ._@-]*(/[A-Za-z0-9][A-Za-z0-9 ._@-]*)*"
PROJECT = r"(([A-Za-z0-9._-]+/)?[A-Za-z0-9._-]+)?"


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """What a run is sent to. `metrics.jsonl` in its folder is always written."""

    mlflow: bool = True
    """Send the run to MLflow: to the store that the environment variable MLFLOW_TRACKING_URI names, or else to
    mlflow.db in CYCLEGAN_DIST_HOME or, without it, in the current folder. A run stays in the store to which it was
    first sent; `mlflow.json` in its folder names it."""
    experiment: str = "cyclegan_dist"
    """MLflow experiment."""
    system_metrics: bool = False
    """Send the load of the launcher's machine to MLflow, every 10 s: processors, memory, disk, network and, with the
    package nvidia-ml-py, GPUs. Other nodes of the cluster are not measured."""
    tensorboard: bool = False
    """Write the run for TensorBoard: losses, figures and grids by images seen, into `tensorboard` in its folder."""
    wandb: str = ""
    """Weights & Biases project, PROJECT or ENTITY/PROJECT, to which the run is sent; needs the package wandb. The
    environment variables WANDB_API_KEY, WANDB_BASE_URL and WANDB_MODE=offline are read by it."""
    parent: str = ""
    """Key of the parent run in MLflow. Set by a sweep for its trials."""

    def __post_init__(self) -> None:
        if not re.fullmatch(EXPERIMENT, self.experiment) or len(self.experiment) > 250:
            raise UsageError(
                f"tracking.experiment {self.experiment!r}: give letters, digits, spaces and . _ @ -, 250 at most"
            )
        if not re.fullmatch(PROJECT, self.wandb) or len(self.wandb) > 128:
            raise UsageError(
                f"tracking.wandb {self.wandb!r}: give PROJECT or ENTITY/PROJECT: letters, digits and . _ -, 128 at most"
            )
        if not re.fullmatch("[A-Za-z0-9._-]{0,128}", self.parent):
            raise UsageError(f"tracking.parent {self.parent!r}: give letters, digits and . _ -")

    @property
    def destinations(self) -> tuple[str, ...]:
        """The names of what the run is sent to, for people."""
        used = {"MLflow": self.mlflow, "TensorBoard": self.tensorboard, "Weights & Biases": bool(self.wandb)}
        return tuple(name for name, is_used in used.items() if is_used)
