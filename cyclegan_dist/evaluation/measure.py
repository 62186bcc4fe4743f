"""Measure a snapshot on a data set: the figures of each direction, and what looks wrong."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.data.values import refuse_other_values
from cyclegan_dist.evaluation import detectors
from cyclegan_dist.evaluation.class_rate import class_rate, class_rate_key
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.evaluation.cost import cost_of_slow
from cyclegan_dist.evaluation.detectors import Detection
from cyclegan_dist.evaluation.discriminant import positions
from cyclegan_dist.evaluation.distances import frechet_distance, kernel_distance
from cyclegan_dist.evaluation.evaluator import Direction, Evaluator
from cyclegan_dist.evaluation.exchanged import exchanged, exchanged_back
from cyclegan_dist.evaluation.features import FeatureNetwork
from cyclegan_dist.evaluation.figures import Figure
from cyclegan_dist.evaluation.segmentation import scores_of
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.step.distributed import World

_REACHED = "discriminant"  # begins the key of the share of the way that translations get


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        figures: by key, `kd/untrained_AB` or `eval/cycle_l1_A`: behind the last underscore stands the direction of a
            translation, or the domain of an image.
        findings: what looks wrong.
        facts: snapshot and data, as JSON values.
        directions: the measurements themselves.
    """

    figures: dict[str, Figure]
    findings: list[Detection]
    facts: dict[str, Any]
    directions: list[Direction]

    def to_json(self) -> str:
        """Figures with their intervals, findings and facts."""
        findings = [dataclasses.asdict(finding) for finding in self.findings]
        return json.dumps({**self.facts, "figures": _rows(self.figures), "findings": findings}, indent=1)


def evaluate(
    snapshot: Snapshot,
    manifest: Manifest,
    config: EvaluationConfig,
    world: World,
    *,
    limit_s: float = 0,
    report: Callable[[str], object] = lambda line: None,
) -> Evaluation:
    """Measure the directions that a snapshot has; what takes the reverse generator is left out where there is none. All
    ranks call it and all get the whole, the same whatever their number, but for rounding.

    Args:
        snapshot: of the generators.
        manifest: the data set as it was prepared, opened with its column `name`; a model that was trained with
            `data.direction` BtoA is measured with the domains exchanged.
        config: what to measure.
        world: this rank among all.
        limit_s: seconds that it may take, by an estimate that is made of slow models only; 0: no limit.
        report: called with a line about the cost of one translation if the model is slow.

    Raises:
        UsageError: if an image is damaged, a weights file is not what it should be, there are too few images, or it
            would take longer than `limit_s`.
    """
    manifest = manifest.selected(snapshot.data_direction)
    wanted = {domain: snapshot.values(domain) for domain in "AB"}
    refuse_other_values(manifest.root, manifest.values, f"snapshot {snapshot.folder}", wanted)
    evaluator = Evaluator(snapshot, manifest, config, world)
    if text := cost_of_slow(evaluator, snapshot, limit_s):
        report(text)
    directions = [evaluator.direction(name) for name in snapshot.directions]
    real = {direction.name[0]: direction.real for direction in directions}
    real |= {domain: evaluator.real_features(domain) for domain in "AB" if domain not in real}
    figures: dict[str, Figure] = {}
    findings: list[Detection] = []
    classes = () if evaluator.segmentation is None else tuple(evaluator.segmentation.palette.classes)
    for direction in directions:
        found = _figures(direction, real[direction.name[1]], evaluator.features, config)
        findings += _findings(direction, real[direction.name[1]], found, classes)
        figures |= found
    if evaluator.features is not None:
        for name in config.class_rate:
            key = class_rate_key(evaluator.features, name)
            shown = {f"real_{domain}": images for domain, images in real.items()}
            shown |= {direction.name: direction.fake for direction in directions}
            figures |= {f"{key}_{where}": class_rate(evaluator.features, x, name) for where, x in shown.items()}
    facts = {
        **{key: snapshot.card.get(key) for key in ("run", "step", "nimg")},
        "snapshot": str(snapshot.folder),
        "data": {d: {"digest": manifest.domain_digest(d), "samples": manifest.samples[d]} for d in "AB"},
        "source": manifest.root,
        "images": {domain: len(features) for domain, features in sorted(real.items()) if len(features)},
    }
    if (segmentation := evaluator.segmentation) is not None:
        counts = next((counts for direction in directions for counts in direction.confusions.values()), None)
        held = "" if counts is None else f": {int((counts.sum(1) > 0).sum())} of its {len(counts)} classes occur"
        facts["palette"] = f"{config.palette}{held}"
        if segmentation.segmenter is not None:
            uses = any(direction[0] == segmentation.palette.domain for direction in snapshot.directions)
            unused = "not used: the model makes no photos of label maps"
            facts["segmenter"] = segmentation.segmenter.name if uses else unused
    return Evaluation(dict(sorted(figures.items())), findings, facts, directions)


def _figures(
    direction: Direction, real: Tensor, network: FeatureNetwork | None, config: EvaluationConfig
) -> dict[str, Figure]:
    """What is reported of a direction; `real` are features of the domain that it leads to."""
    found = {key: Figure.mean(values) for key, values in direction.scores.items() if "/" in key}
    if network is not None and "distances" in config.metrics:
        found[f"{network.kernel}_{direction.name}"] = kernel_distance(real, direction.fake, config.subsets)
        found[f"{network.frechet}_{direction.name}"] = frechet_distance(real, direction.fake)
        if min(len(real), len(direction.fake)) > 1:
            share = detectors.diversity(direction.fake, real)
            found[f"diversity/{network.name}_{direction.name}"] = Figure(share, n=len(direction.fake))
        if (at := positions(direction.real, real, direction.fake)) is not None:
            found[f"{_REACHED}/{network.name}_{direction.name}"] = Figure.mean(at.translations.tolist())
    for where, counts in direction.confusions.items():
        scores = scores_of(counts, len(direction.fake))
        if where == direction.name and (groups := exchanged(counts)):
            back = scores_of(exchanged_back(counts, groups), len(direction.fake))
            scores = {**scores, **{f"exchanged_{key}": figure for key, figure in back.items()}}
        found |= {f"seg/{key}_{where}": figure for key, figure in scores.items()}
    return found


def _findings(
    direction: Direction, real: Tensor, figures: Mapping[str, Figure], classes: Sequence[str]
) -> list[Detection]:
    scores, name = direction.scores, direction.name
    found = detectors.inverted(name, Figure.mean(scores["correlation"]).value)
    if "change" in scores:
        nothing = detectors.do_nothing(name, Figure.mean(scores["change"]).value)
        reached = next((figure.value for key, figure in figures.items() if key.startswith(f"{_REACHED}/")), None)
        found += nothing
        if reached is not None and not nothing:
            found += detectors.minimal_change(name, reached, Figure.mean(scores["kept"]).value)
    if real.shape[1] and min(len(real), len(direction.fake)) > 1:
        found += detectors.collapsed(name, direction.fake, real)
    if f"seg/exchanged_pixel_accuracy_{name}" in figures:
        groups = [[classes[label] for label in group] for group in exchanged(direction.confusions[name])]
        accuracies = (figures[f"seg/{key}_{name}"].value for key in ("pixel_accuracy", "exchanged_pixel_accuracy"))
        found += detectors.exchanged_classes(name, groups, *accuracies)
    return found


def _rows(figures: Mapping[str, Figure]) -> dict[str, dict[str, Any]]:
    return {
        key: {
            "value": figure.value,
            "interval": list(figure.interval) if len(figure.parts) > 1 else None,
            "n": figure.n,
        }
        for key, figure in figures.items()
    }
