"""Measure a snapshot on a data set: both directions' figures, and what looks wrong."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.evaluation import detectors
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.evaluation.detectors import Detection
from cyclegan_dist.evaluation.distances import frechet_distance, kernel_distance
from cyclegan_dist.evaluation.evaluator import Direction, Evaluator
from cyclegan_dist.evaluation.features import Features
from cyclegan_dist.evaluation.figures import Figure
from cyclegan_dist.evaluation.segmentation import scores_of
from cyclegan_dist.step.distributed import World


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
        return json.dumps({**self.facts, "figures": _rows(self.figures), "findings": _told(self.findings)}, indent=1)


def evaluate(snapshot: Path, manifest: Manifest, config: EvaluationConfig, world: World) -> Evaluation:
    """Measure both directions. All ranks call it and all get the whole, the same whatever their number, but for
    rounding.

    Args:
        snapshot: folder of the generators.
        manifest: the data set, opened with its column `name`.
        config: what to measure.
        world: this rank among all.

    Raises:
        UsageError: if an image is damaged, a weights file is not what it should be, or too few images are there.
    """
    evaluator = Evaluator(snapshot, manifest, config, world)
    there, back = evaluator.direction("AB"), evaluator.direction("BA")
    figures: dict[str, Figure] = {}
    findings: list[Detection] = []
    for direction, real in ((there, back.real), (back, there.real)):
        figures |= _figures(direction, real, evaluator.features, config.subsets)
        findings += _findings(direction, real)
    facts = {
        **{key: evaluator.card.get(key) for key in ("run", "step", "nimg")},
        "snapshot": str(snapshot),
        "data": {d: {"digest": manifest.domain_digest(d), "samples": manifest.samples[d]} for d in "AB"},
        "source": manifest.root,
        "images": {"A": len(there.real), "B": len(back.real)},
    }
    return Evaluation(dict(sorted(figures.items())), findings, facts, [there, back])


def _figures(direction: Direction, real: Tensor, features: Features | None, subsets: int) -> dict[str, Figure]:
    """What is reported of a direction; `real` are features of the domain that it leads to."""
    found = {key: Figure.mean(values) for key, values in direction.scores.items() if "/" in key}
    if features is not None:
        found[f"{features.kernel}_{direction.name}"] = kernel_distance(real, direction.fake, subsets)
        found[f"{features.frechet}_{direction.name}"] = frechet_distance(real, direction.fake)
    if direction.confusion is not None:
        scores = scores_of(direction.confusion, len(direction.fake))
        found |= {f"seg/{key}_{direction.name}": figure for key, figure in scores.items()}
    return found


def _findings(direction: Direction, real: Tensor) -> list[Detection]:
    scores, name = direction.scores, direction.name
    found = detectors.inverted(name, Figure.mean(scores["correlation"]).value)
    if "change" in scores:
        found += detectors.do_nothing(name, Figure.mean(scores["change"]).value)
    if real.shape[1] and min(len(real), len(direction.fake)) > 1:
        found += detectors.collapsed(name, direction.fake, real)
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


def _told(findings: list[Detection]) -> list[dict[str, str]]:
    return [{"name": finding.name, "direction": finding.direction, "text": finding.text} for finding in findings]
