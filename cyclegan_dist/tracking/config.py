"""Where a run is recorded."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """MLflow. `metrics.jsonl` in the run's folder is written whatever is set here."""

    mlflow: bool = True
    """Send the run to MLflow. The environment's MLFLOW_TRACKING_URI names the server; without it, sqlite:///mlflow.db
    beside the runs."""
    experiment: str = "cyclegan_dist"
    """MLflow experiment."""
