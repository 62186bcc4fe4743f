"""Whether a run that was trained again is equal to the first one: its configuration, images, losses and weights."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cyclegan_dist.config.changes import learned_values
from cyclegan_dist.errors import UsageError
from cyclegan_dist.networks.stored import weights_name
from cyclegan_dist.reproduction.origin import Origin
from cyclegan_dist.tracking.journal import read_records

if TYPE_CHECKING:
    from torch import Tensor

TOLERANCE = 1e-3  # relative distance of weights up to which a reproduction counts as equal but for rounding
Outcome = Literal["equal", "equal up to rounding", "different"]
Values = dict[tuple[int, str], float]


@dataclass(frozen=True)
class Equality:
    """What a comparison has found.

    Attributes:
        outcome: `equal`: bit for bit. `equal up to rounding`: the weights within the tolerance, of one configuration.
        lines: a sentence for each thing that was compared.
        facts: the same as numbers.
    """

    outcome: Outcome
    lines: list[str]
    facts: dict[str, Any]


def compare(origin: Origin, again: Origin, tolerance: float = TOLERANCE) -> Equality:
    """Compare the snapshot of a run that was trained again with the first one's. Loads torch.

    Args:
        origin: the first.
        again: the second, after as many images.
        tolerance: relative distance of the weights, norm of the difference over norm of the first, up to which they
            count as equal but for rounding.

    Raises:
        UsageError: if they have seen different numbers of images, or translate other directions.
    """
    if origin.nimg != again.nimg:
        raise UsageError(
            f"{again.snapshot.folder} has seen {again.nimg} images, and {origin.snapshot.folder} {origin.nimg}: train "
            "to the end of the prepared command, or name the snapshot of that number of images"
        )
    if origin.snapshot.directions != again.snapshot.directions:
        raise UsageError(f"{again.snapshot.folder} translates other directions than {origin.snapshot.folder}")
    before, after = learned_values(origin.config), learned_values(again.config)
    changed = {key: (before.get(key), after.get(key)) for key in sorted(before.keys() | after.keys())}
    changed = {key: pair for key, pair in changed.items() if pair[0] != pair[1] and key not in ("init_from",)}
    weights = [(one.fact("initialised_from") or {}).get("sha256") for one in (origin, again)]
    starts = [one.config.init_from for one in (origin, again)]
    if weights[0] != weights[1] and (all(weights) or not all(starts)):
        changed["init_from"] = (weights[0] or starts[0], weights[1] or starts[1])
    elif not all(weights) and starts[0] != starts[1]:
        changed["init_from"] = (starts[0], starts[1])
    known_data = bool(origin.data() and again.data())
    same_data = known_data and origin.data() == again.data()
    lines = [f"configuration: {key}: {was!r} then, {now!r} now" for key, (was, now) in changed.items()]
    lines += [] if changed else ["configuration: equal in all that affects what is learned"]
    lines.append(
        "images: equal" if same_data else "images: different digests" if known_data else "images: of unknown digests"
    )
    losses, figures = (_series(origin, again, kind) for kind in ("metrics", "evaluation"))
    lines += [_described("losses", losses), *([_described("figures of evaluations", figures)] if figures else [])]
    digests = [_digest(one) for one in (origin, again)]
    equal, distance = digests[0] == digests[1], 0.0
    if equal:
        lines.append(f"weights: equal bit for bit, sha256 {digests[0]}")
    else:
        distance = _distance(origin, again)
        lines.append(
            f"weights: different by {distance:.3g} of their norm, sha256 {digests[0][:16]} and {digests[1][:16]}"
        )
    one_run = not changed and same_data
    outcome: Outcome = "different"
    if one_run and equal and not any(found and found["different"] for found in (losses, figures)):
        outcome = "equal"
    elif one_run and distance <= tolerance:
        outcome = "equal up to rounding"
    facts = {"outcome": outcome, "configuration": changed, "images_equal": same_data, "losses": losses}
    facts |= {"evaluations": figures, "weights_sha256": digests, "weights_distance": distance, "tolerance": tolerance}
    return Equality(outcome, lines, facts)


def _recorded(origin: Origin, kind: str) -> Values:
    """Losses, or figures, by step and name, up to the snapshot."""
    found: Values = {}
    if origin.run is None or not origin.run.journal.is_file():
        return found
    for record, _ in read_records(origin.run.journal, 0):
        if record["kind"] == kind and record.get("nimg", origin.nimg) <= origin.nimg:
            values = {
                key: value for key, value in record["values"].items() if kind != "metrics" or key.startswith("loss/")
            }
            found |= {(record["step"], key): float(value) for key, value in values.items()}
    return found


def _series(origin: Origin, again: Origin, kind: str) -> dict[str, Any]:
    """What differs in values that both have recorded at the same steps; empty if there are none."""
    first, second = _recorded(origin, kind), _recorded(again, kind)
    both = sorted(first.keys() & second.keys())
    if not both:
        return {}
    other = [at for at in both if first[at] != second[at] and not (math.isnan(first[at]) and math.isnan(second[at]))]
    largest = max((abs(first[at] - second[at]) / max(abs(first[at]), 1e-12) for at in other), default=0.0)
    found = {"compared": len(both), "steps": len({step for step, _ in both}), "different": len(other)}
    return found | {"first_different_step": other[0][0] if other else None, "largest_relative_difference": largest}


def _described(what: str, found: Mapping[str, Any]) -> str:
    if not found:
        return f"{what}: not compared: there are not two journals with values of the same steps"
    count = f"{found['compared']} values of {found['steps']} steps"
    if not found["different"]:
        return f"{what}: {count} are equal"
    return (
        f"{what}: {found['different']} of {count} differ, from step {found['first_different_step']} on, by up to "
        f"{found['largest_relative_difference']:.2g} of the value"
    )


def _weights(origin: Origin) -> "dict[str, Tensor]":
    from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

    return {
        f"{direction}.{name}": tensor
        for direction in sorted(origin.snapshot.directions)
        for name, tensor in sorted(load_file(origin.snapshot.folder / weights_name(direction)).items())
    }


def _digest(origin: Origin) -> str:
    """sha256 over names, shapes and bits of all weights; `Snapshot.digest` has the card too, which names the run."""
    import torch

    together = hashlib.sha256()
    for name, tensor in _weights(origin).items():
        together.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        together.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return together.hexdigest()


def _distance(origin: Origin, again: Origin) -> float:
    """The norm of the difference of all weights relative to the norm of the first; infinite for other shapes."""
    first, second = _weights(origin), _weights(again)
    if {k: v.shape for k, v in first.items()} != {k: v.shape for k, v in second.items()}:
        return math.inf
    squares = sum(float((first[key].double() - second[key].double()).square().sum()) for key in first)
    return math.sqrt(squares / sum(float(one.double().square().sum()) for one in first.values()))
