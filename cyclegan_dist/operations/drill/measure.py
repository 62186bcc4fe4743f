"""The cost of a drill: seconds to detection and to recovery, steps lost or repeated, differences of the result."""

import itertools
import json
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cyclegan_dist.checkpoint.restore import Restored
from cyclegan_dist.checkpoint.storage import storage_at
from cyclegan_dist.checkpoint.store import CheckpointStore
from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.operations.drill.inject import record_path
from cyclegan_dist.operations.drill.plan import FOLDER, STEPS, Fault
from cyclegan_dist.step.distributed import World
from cyclegan_dist.tracking.journal import JOURNAL, read_records

CLOCK_S = 0.05  # two nodes' clocks, or a file's order, may disagree by so much


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one fault cost. None where that is not known.

    Attributes:
        fault: which.
        step: during which it was injected.
        detection_s: seconds from the fault until the launcher's side detected it.
        recovery_s: seconds from the fault until the next step was done.
        repeated: steps that were done again.
    """

    fault: Fault
    step: int
    detection_s: float | None
    recovery_s: float | None
    repeated: int | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A run with faults compared with one without.

    Attributes:
        max_difference: of any weight of any network.
        equal: whether everything in the last checkpoint is equal, bit for bit.
        lost: steps that are missing in the last weights.
        doubled: steps that are in them twice.
        points_missing: of metrics, that the baseline recorded and this run did not.
        points_doubled: of metrics, recorded more than once.
        goodput: share of the time from the first step to the last that steps of the usual pace would have taken.
    """

    max_difference: float
    equal: bool
    lost: int
    doubled: int
    points_missing: int
    points_doubled: int
    goodput: float


def costs(run_dir: Path, faults: list[Fault]) -> list[Cost]:
    """The cost of each fault that was injected."""
    steps, failures = read_steps(run_dir), _failures(run_dir)
    return [
        _cost(fault, json.loads(path.read_text()), steps, failures)
        for fault in faults
        if (path := record_path(run_dir / FOLDER, fault.number)).exists()
    ]


def _cost(fault: Fault, facts: dict[str, Any], steps: list[dict[str, Any]], failures: list[float]) -> Cost:
    moment = facts["time"]
    known = next((time - moment for time in failures if time >= moment - CLOCK_S), None)
    after = next((s for s in steps if s["time"] > moment and s["attempt"] != facts["attempt"]), None)
    done = max((s["step"] for s in steps if s["attempt"] == facts["attempt"]), default=0)
    return Cost(
        fault=fault,
        step=facts["step"],
        detection_s=None if known is None or fault.targets_driver else max(0.0, known),
        recovery_s=after["time"] - moment if after else None,
        repeated=max(0, done - after["step"] + 1) if after else None,
    )


def compare(config: Config, baseline: Config) -> Comparison:
    """Compare a run that has ended with a run of the same config without faults.

    Raises:
        UsageError: if one of them has no checkpoint, or they ended at different steps.
    """
    one, other = _last(config), _last(baseline)
    if one.step != other.step:
        raise UsageError(f"{config.name} ended at step {one.step}, {baseline.name} at {other.step}")
    weights, their_weights = one.shared["step"]["networks"], other.shared["step"]["networks"]
    steps = read_steps(config.run_dir)
    lost, doubled = lineage(steps, one.step)
    points, expected = _points(config.run_dir), _points(baseline.run_dir)
    return Comparison(
        max_difference=max(float((weights[key] - their_weights[key]).abs().max()) for key in their_weights),
        equal=_same((one.shared, one.ranks), (other.shared, other.ranks)),
        lost=lost,
        doubled=doubled,
        points_missing=len(expected.keys() - points.keys()),
        points_doubled=sum(count - 1 for count in points.values()),
        goodput=goodput(steps),
    )


def read_steps(run_dir: Path) -> list[dict[str, Any]]:
    """The steps of all attempts, in the order they were done; the last line may be torn."""
    path = run_dir / FOLDER / STEPS
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return sorted((json.loads(line) for line in lines if line.endswith("}\n")), key=lambda step: step["time"])


def _failures(run_dir: Path) -> list[float]:
    """When the launcher's side detected each failure, in seconds since 1970."""
    return [r["time"] / 1000 for r, _ in read_records(run_dir / JOURNAL, 0) if r["kind"] == "failure"]


def lineage(steps: list[dict[str, Any]], last: int) -> tuple[int, int]:
    """Steps that are missing in the last weights, and steps that are in them twice. An attempt continues after the
    checkpoint it loaded, so a step is missing or doubled where the first step of an attempt does not follow a state
    that an earlier attempt reached.
    """
    seen: list[int] = []
    attempt = None
    for step in steps:
        if step["attempt"] != attempt:
            attempt = step["attempt"]
            seen = [s for s in seen if s < step["step"]]  # the state of the checkpoint, and no later one
        seen.append(step["step"])
    counts = Counter(seen)
    return sum(step not in counts for step in range(1, last + 1)), sum(count - 1 for count in counts.values())


def _points(run_dir: Path) -> Counter[tuple[str, int]]:
    records = [r for r, _ in read_records(run_dir / JOURNAL, 0) if r["kind"] == "metrics"]
    # Figures of speed are of some steps, of others after a restart.
    return Counter((name, r["step"]) for r in records for name in r["values"] if not name.startswith("perf/"))


def goodput(steps: list[dict[str, Any]]) -> float:
    """Against the pace between pauses, so that a slow machine does not count as a fault."""
    pairs = itertools.pairwise(steps)
    pace = statistics.median(b["time"] - a["time"] for a, b in pairs if a["attempt"] == b["attempt"])
    return min(1.0, (steps[-1]["step"] - steps[0]["step"]) * pace / (steps[-1]["time"] - steps[0]["time"]))


def _last(config: Config) -> Restored:
    store = CheckpointStore(storage_at(config.checkpoint_path), World(0, 1, torch.device("cpu")), keep=1, warn=print)
    restored = store.load_latest()
    if restored is None:
        raise UsageError(f"{config.name} has no checkpoint")
    return restored


def _same(one: Any, other: Any) -> bool:
    """Whether two trees of tensors and values are equal in every bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other
