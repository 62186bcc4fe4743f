"""The layout of a run folder, the status a run ends with, and the reason it failed."""

import json
import os
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from cyclegan_dist.storage.files import write_atomic

JOURNAL = "metrics.jsonl"


class Status(StrEnum):
    """How a rank's training ended. The journal and MLflow record the first three."""

    FINISHED = "FINISHED"
    KILLED = "KILLED"
    """Stopped by a signal or a stop file."""
    FAILED = "FAILED"
    SUPERSEDED = "SUPERSEDED"
    """Another attempt took over the run."""
    RESERVE = "RESERVE"
    """The rank was not needed."""


@dataclass(frozen=True)
class Failure:
    """Why a run failed in a way that a restart cannot fix.

    Attributes:
        error: name of the exception's class; empty if a version before 0.2 wrote it.
        message: the exception's text.
        rank: that failed; -1 if not known.
    """

    error: str
    message: str
    rank: int = -1


class RunFolder:
    """The paths in a run folder. Sweeps use some of them too."""

    def __init__(self, path: Path):
        self.path = path
        # Written by the launcher.
        folder = Path(os.path.abspath(path))  # "." has no name
        self.lock = folder.with_name(f".{folder.name}.lock")  # next to the folder, which may not exist yet
        self.config = path / "config.yaml"
        self.segments = path / "segments.json"  # extensions of the run
        self.start = path / "start.safetensors"  # what `init_from` named
        self.stop = path / "STOP"  # asks all ranks to stop
        self.save = path / "SAVE"  # asks them for a checkpoint; users may write it, too
        self.crash = path / "crash.txt"
        # Written by ranks.
        self.attempt = path / "attempt"
        self.failed = path / "FAILED"
        self.identity = path / "identity.json"
        self.journal = path / JOURNAL
        self.bad_samples = path / "bad_samples.jsonl"
        self.checkpoints = path / "checkpoints"
        self.snapshots = path / "snapshots"
        self.samples = path / "samples"
        self.sweep_journal = path / "sweep.jsonl"
        # Written by the evaluation of snapshots.
        self.evaluations = path / "evaluations"
        self.evaluation_log = path / "evaluation.log"
        self.best = path / "best.json"  # names the snapshot with the best evaluation
        # Written by the processes that send the run, or the sweep, to MLflow and other destinations.
        self.sender_state = self.state_of("mlflow")
        self.refused = path / "mlflow.refused.jsonl"
        self.sender_lock = self.sender_lock_of("mlflow")
        self.event_files = path / "tensorboard"
        self.parent_lock = path / "mlflow.parent.lock"

    def state_of(self, destination: str) -> Path:
        """How much of the journal has been sent to `mlflow`, `tensorboard` or `wandb`."""
        return self.path / f"{destination}.json"

    def sender_lock_of(self, destination: str) -> Path:
        """Held by the process that sends the run there."""
        return self.path / f"{destination}.lock"

    def stacks(self, rank: int) -> Path:
        """Stack traces of a rank that the watchdog ended."""
        return self.path / f"stacks-rank-{rank}.txt"

    def snapshot(self, nimg: int) -> Path:
        """The snapshot after `nimg` images."""
        return self.snapshots / f"nimg-{nimg:09d}"

    def write_failure(self, error: Exception, rank: int) -> None:
        """Record a failure that a restart cannot fix.

        Raises:
            OSError: if it cannot be written.
        """
        failure = Failure(type(error).__name__, str(error), rank)
        write_atomic(self.failed, json.dumps(asdict(failure), indent=1) + "\n", writer=f"rank-{rank}-")

    def read_failure(self) -> Failure | None:
        """The recorded failure, or None.

        Raises:
            OSError: if it cannot be read.
        """
        try:
            text = self.failed.read_text(errors="replace")
        except FileNotFoundError:
            return None
        try:
            fields = json.loads(text)
            return Failure(fields["error"], fields["message"], fields.get("rank", -1))
        except (ValueError, TypeError, KeyError):  # plain text, before version 0.2
            return Failure("NonFiniteError" if "not finite" in text else "", text)
