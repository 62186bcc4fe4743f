"""Trainings on the test cluster: submission, journals and weights."""

import time
from collections.abc import Mapping
from typing import Any

import torch

from cyclegan_dist.config.config import Config, dump_config
from cyclegan_dist.tracking.journal import JOURNAL, read_records
from tests.multinode.lab import Job, Lab

# In double precision and without history buffers, which differ between ranks, any number of ranks learns the same.
EXACT: dict[str, Any] = {"optim__precision": "fp64", "method__pool_size": 0}


def submit(lab: Lab, config: Config, settings: Mapping[str, str] | None = None) -> Job:
    """Submit the training of a run, with its whole configuration in a file that all machines share.

    Args:
        lab: cluster to train on.
        config: of the run.
        settings: additional environment variables of the job.
    """
    path = config.run_dir.parent / f"{config.name}.yaml"
    path.write_text(dump_config(config))
    return lab.submit("python", "-m", "cyclegan_dist.train", str(path), settings=settings)


def records(config: Config) -> list[dict[str, Any]]:
    """The journal's records so far."""
    path = config.run_dir / JOURNAL
    return [record for record, _ in read_records(path, 0)] if path.exists() else []


def last_step(config: Config) -> int:
    return max((record.get("step", 0) for record in records(config)), default=0)


def wait_for_step(config: Config, step: int, job: Job, timeout_s: float = 120.0) -> None:
    """Wait until the journal contains the step.

    Raises:
        TimeoutError: with the job's output, if that takes too long or the job ends before.
    """
    limit = time.monotonic() + timeout_s
    while last_step(config) < step:
        if time.monotonic() > limit or job.status not in ("PENDING", "RUNNING"):
            raise TimeoutError(f"step {step} was not reached, the job is {job.status}: {job.logs()}")
        time.sleep(0.2)


def weights(config: Config) -> dict[str, torch.Tensor]:
    """All networks' weights in the newest checkpoint, by name."""
    folder = max((config.run_dir / "checkpoints").glob("step-*"))
    return torch.load(folder / "shared.pt", weights_only=True)["step"]["networks"]


def difference(one: Config, two: Config) -> float:
    """The largest absolute difference of a weight between the newest checkpoints of two runs."""
    left, right = weights(one), weights(two)
    assert left.keys() == right.keys()
    return max(float((left[name] - right[name]).abs().max()) for name in left)
