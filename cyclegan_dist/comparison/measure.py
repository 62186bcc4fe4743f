"""Figures of the compared models on the same images, and their differences from the first."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cyclegan_dist.comparison.options import Compare
from cyclegan_dist.comparison.sources import BEST, ComparedSource
from cyclegan_dist.data.location import data_path
from cyclegan_dist.data.manifest import READING, Manifest, open_manifest
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.cached import EvaluationCache, EvaluationWithParts, protocol_digest
from cyclegan_dist.evaluation.figures import Figure, difference
from cyclegan_dist.step.distributed import World


@dataclass(frozen=True)
class ComparedFigures:
    """What was measured.

    Attributes:
        evaluations: by the name of the model.
        differences: from the first model, by the name of another and the key of a figure.
        warnings: a sentence for each model that could not be measured, or not as the first one, and for what looks
            wrong in its translations.
    """

    evaluations: Mapping[str, EvaluationWithParts]
    differences: Mapping[str, Mapping[str, Figure]]
    warnings: Sequence[str]


def measured(
    command: Compare, compared: Sequence[ComparedSource], world: World, report: Callable[[str], object]
) -> ComparedFigures:
    """Evaluate each model on the images of the command, unless that was done. All ranks call it.

    Args:
        command: what the user wants.
        compared: the models.
        world: this rank among all.
        report: called with a line for each evaluation that is computed.

    Raises:
        UsageError: if the images cannot be read, or no model could be measured.
    """
    part = command.split or "data"
    manifest = open_manifest(data_path(command.data, command.split), (*READING, "name"))
    parts = {part: manifest}
    protocol = protocol_digest(command.what, parts)
    cache = EvaluationCache(parts, {part: command.what}, lambda: protocol, world, pages=part)
    found: dict[str, EvaluationWithParts] = {}
    warnings: list[str] = []
    for one in compared:
        warnings += _too_good(one, manifest)
        if one.snapshot is None:
            warnings.append(f"{one.name} is not measured: it has no snapshot yet")
            continue
        try:
            found[one.name] = cache.with_parts(one.snapshot.folder, part, report)
        except UsageError as error:
            warnings.append(f"{one.name} is not measured: {error}")
        else:
            warnings += [f"{one.name}: {finding['text']}" for finding in found[one.name].tree["findings"]]
    if not found:
        raise UsageError(f"nothing could be measured: {warnings[-1]}")
    first = found.get(compared[0].name)
    if first is None:
        warnings.append(f"nothing is compared with {compared[0].name}, which is not measured")
        return ComparedFigures(found, {}, warnings)
    differences: dict[str, dict[str, Figure]] = {}
    for one in compared[1:]:
        if (other := found.get(one.name)) is None:
            continue
        if one.snapshot and compared[0].snapshot and one.snapshot.data_direction != compared[0].snapshot.data_direction:
            continue  # figures of one name are of other images
        if (sizes := [tree.get("size") for tree in (first.tree, other.tree)])[0] != sizes[1]:
            warnings.append(
                f"{one.name} and {compared[0].name} are measured at other sizes ({sizes[1]}; {sizes[0]}): give --size"
            )
        differences[one.name] = from_first(first.figures, other.figures)
    return ComparedFigures(found, differences, warnings)


def from_first(first: Mapping[str, Figure], other: Mapping[str, Figure]) -> dict[str, Figure]:
    """`other` - `first`, of each figure that both have of as many parts of the same images."""
    shared = (key for key in first if key in other and len(first[key].parts) == len(other[key].parts))
    return {key: difference(other[key], first[key]) for key in shared}


def apart(figure: Figure) -> str:
    """Whether the interval of a difference leaves 0 out: `lower`, `higher` or `no`; empty without an interval."""
    if len(figure.parts) < 2:
        return ""
    low, high = figure.interval
    return "higher" if low > 0 else "lower" if high < 0 else "no"


def _too_good(one: ComparedSource, manifest: Manifest) -> list[str]:
    """Warnings about a model that was trained on the images that are measured, or a snapshot chosen by them."""
    measured_on = {manifest.domain_digest(domain) for domain in "AB"}
    found = [
        f"{one.name} was trained on these images of domain {domain}: its figures are too good"
        for domain, digest in one.data.items()
        if digest in measured_on
    ]
    if one.which.startswith(BEST) and (held_out := one.config.get("held_out.data")):
        with contextlib.suppress(UsageError):  # the data set may be gone
            if open_manifest(held_out, ()).digest == manifest.digest:
                found.append(f"{one.name}: its snapshot was chosen by these images, so its figures are too good")
    return found


def evaluations_as_json(figures: ComparedFigures) -> dict[str, Any]:
    """Figures, as in metrics.json, and differences, as JSON values."""
    return {
        "figures": {name: one.tree["figures"] for name, one in figures.evaluations.items()},
        "differences": {
            name: {
                key: {
                    "value": figure.value,
                    "interval": list(figure.interval) if len(figure.parts) > 1 else None,
                    "n": figure.n,
                    "apart": apart(figure),
                }
                for key, figure in found.items()
            }
            for name, found in figures.differences.items()
        },
    }
