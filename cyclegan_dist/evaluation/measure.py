"""Measure a snapshot on a data set: the figures of each direction, and what looks wrong."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from cyclegan_dist.data.domain_names import Names, refuse_exchanged
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


@dataclass(frozen=True, repr=False)  # the one of dataclasses has thousands of lines
class Evaluation:
    """What was measured.

    Attributes:
        figures: by key, `kd/untrained_AB` or `eval/cycle_l1_A`: behind the last underscore stands the direction of a
            translation, or the domain of an image.
        findings: what looks wrong.
        facts: snapshot and data, as JSON values.
        directions: the measurements themselves.
        names: of the domains A and B; empty if neither model nor data set has any.
    """

    figures: dict[str, Figure]
    findings: list[Detection]
    facts: dict[str, Any]
    directions: list[Direction]
    names: Names = field(default_factory=dict[str, str])

    def __repr__(self) -> str:
        figures = (f"{key}: {figure}" for key, figure in self.figures.items())
        return "\n".join([*figures, *(f"{finding.name}: {finding.text}" for finding in self.findings)])

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
        report: called with a line every ten seconds, about how far it is, and about the cost of one translation if the
            model is slow, networks that are left out because they took part in the training, and other names of the
            domains.

    Raises:
        UsageError: if an image is damaged, a weights file is not what it should be, there are too few images, the names
            of the domains are exchanged, or it would take longer than `limit_s`.
    """
    manifest = manifest.selected(snapshot.data_direction)
    wanted = {domain: snapshot.values(domain) for domain in "AB"}
    refuse_other_values(manifest.root, manifest.values, f"snapshot {snapshot.folder}", wanted)
    if other := refuse_exchanged(
        manifest.root, manifest.domain_names, f"snapshot {snapshot.folder}", snapshot.domain_names
    ):
        report(other)
    names = snapshot.domain_names or manifest.domain_names
    evaluator = Evaluator(snapshot, manifest, config, world, report)
    for name in evaluator.left_out:
        report(f"features {name} are left out: the network took part in the training")
    if text := cost_of_slow(evaluator, snapshot, limit_s):
        report(text)
    directions = [evaluator.direction(name) for name in snapshot.directions]
    real = {direction.name[0]: direction.real for direction in directions}
    real |= {domain: evaluator.real_features(domain) for domain in "AB" if domain not in real}
    figures: dict[str, Figure] = {}
    findings: list[Detection] = []
    classes = () if evaluator.segmentation is None else tuple(evaluator.segmentation.palette.classes)
    for direction in directions:
        found = _figures(direction, real[direction.name[1]], evaluator.networks, config)
        findings += _findings(direction, real[direction.name[1]], evaluator.networks, found, classes, names)
        figures |= found
    if (classifier := evaluator.classifier) is not None:
        for name in config.class_rate:
            key = class_rate_key(classifier, name)
            shown = {f"real_{domain}": images[classifier.name] for domain, images in real.items()}
            shown |= {direction.name: direction.fake[classifier.name] for direction in directions}
            figures |= {f"{key}_{where}": class_rate(classifier, x, name) for where, x in shown.items()}
    facts = {
        **{key: snapshot.card.get(key) for key in ("run", "step", "nimg")},
        "snapshot": str(snapshot.folder),
        "data": {d: {"digest": manifest.domain_digest(d), "samples": manifest.samples[d]} for d in "AB"},
        "source": manifest.root,
        "images": {d: evaluator.count(d) for d in sorted(real) if real[d] or d in {one.name[0] for one in directions}},
        "features": {network.name: network.sha256 for network in evaluator.networks},
        "size": evaluator.size,
        "left_out": list(evaluator.left_out),
        **({"domain_names": dict(names)} if names else {}),
    }
    if (segmentation := evaluator.segmentation) is not None:
        counts = next((counts for direction in directions for counts in direction.confusions.values()), None)
        held = "" if counts is None else f": {int((counts.sum(1) > 0).sum())} of its {len(counts)} classes occur"
        facts["palette"] = f"{config.palette}{held}"
        if segmentation.segmenter is not None:
            uses = any(direction[0] == segmentation.palette.domain for direction in snapshot.directions)
            unused = "not used: the model makes no photos of label maps"
            facts["segmenter"] = segmentation.segmenter.name if uses else unused
    return Evaluation(dict(sorted(figures.items())), findings, facts, directions, names)


def _figures(
    direction: Direction, real: Mapping[str, Tensor], networks: Sequence[FeatureNetwork], config: EvaluationConfig
) -> dict[str, Figure]:
    """What is reported of a direction; `real` are features of the domain that it leads to."""
    found = {key: Figure.mean(values) for key, values in direction.scores.items() if "/" in key}
    for network in networks if "distances" in config.metrics else ():
        own, target, fake = (features[network.name] for features in (direction.real, real, direction.fake))
        found[f"{network.kernel}_{direction.name}"] = kernel_distance(target, fake, config.subsets)
        found[f"{network.frechet}_{direction.name}"] = frechet_distance(target, fake)
        if min(len(target), len(fake)) > 1:
            share = detectors.diversity(fake, target)
            found[f"diversity/{network.name}_{direction.name}"] = Figure(share, n=len(fake))
        if (at := positions(own, target, fake)) is not None:
            found[f"{_REACHED}/{network.name}_{direction.name}"] = Figure.mean(at.translations.tolist())
    count = len(direction.scores["correlation"])
    for where, counts in direction.confusions.items():
        scores = scores_of(counts, count)
        if where == direction.name and (groups := exchanged(counts)):
            back = scores_of(exchanged_back(counts, groups), count)
            scores = {**scores, **{f"exchanged_{key}": figure for key, figure in back.items()}}
        found |= {f"seg/{key}_{where}": figure for key, figure in scores.items()}
    return found


def _findings(
    direction: Direction,
    real: Mapping[str, Tensor],
    networks: Sequence[FeatureNetwork],
    figures: Mapping[str, Figure],
    classes: Sequence[str],
    names: Names,
) -> list[Detection]:
    """What looks wrong, by the first network."""
    scores, name = direction.scores, direction.name
    found = detectors.inverted(name, Figure.mean(scores["correlation"]).value, names)
    if "change" in scores:
        nothing = detectors.do_nothing(name, Figure.mean(scores["change"]).value, names)
        reached = next((figure.value for key, figure in figures.items() if key.startswith(f"{_REACHED}/")), None)
        found += nothing
        if reached is not None and not nothing:
            found += detectors.minimal_change(name, reached, Figure.mean(scores["kept"]).value, names)
    for network in networks[:1]:
        target, fake = real[network.name], direction.fake[network.name]
        if min(len(target), len(fake)) > 1:
            found += detectors.collapsed(name, fake, target, names)
    if f"seg/exchanged_pixel_accuracy_{name}" in figures:
        groups = [[classes[label] for label in group] for group in exchanged(direction.confusions[name])]
        accuracies = (figures[f"seg/{key}_{name}"].value for key in ("pixel_accuracy", "exchanged_pixel_accuracy"))
        found += detectors.exchanged_classes(name, groups, *accuracies, names=names)
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
