"""Measures the entries of a leaderboard, and gathers the figures of each configuration."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.agreement import agreements
from cyclegan_dist.evaluation.cached import CHOSEN, LAST, EvaluationCache
from cyclegan_dist.evaluation.figures import Figure
from cyclegan_dist.leaderboard.entries import Entry

TEST, VALIDATION = "test", "val"
WHICH = (LAST, CHOSEN)


@dataclass(frozen=True)
class Measured:
    """What was measured of an entry.

    Attributes:
        entry: of the leaderboard.
        trees: evaluations, as in metrics.json, of the last snapshot and of the chosen one, if one could be chosen.
        text: why there is nothing, or no choice.
    """

    entry: Entry
    trees: Mapping[str, dict[str, Any]]
    text: str = ""


def measured(
    entry: Entry, cache: EvaluationCache, choose_by: str, report: Callable[[str], object] = lambda line: None
) -> Measured:
    """Evaluate an entry, unless that was done.

    Args:
        entry: of the leaderboard.
        cache: with the part TEST, and VALIDATION if there is one.
        choose_by: figure without its direction, the lowest is the best.
        report: called with a line for each evaluation that is computed.
    """
    try:
        _refuse_trained_on(entry, cache.parts[TEST])
        trees = {LAST: cache.tree(entry.snapshots[-1], TEST, report)}
    except UsageError as error:
        return Measured(entry, {}, str(error))
    if VALIDATION not in cache.parts:
        return Measured(entry, trees)
    try:
        means = [_mean(cache.figures(snapshot, VALIDATION, report), choose_by) for snapshot in entry.snapshots]
        latest_first = reversed(range(len(means)))  # of equal ones the latest
        chosen = entry.snapshots[min(latest_first, key=lambda i: means[i])]
        trees[CHOSEN] = cache.tree(chosen, TEST, report)
    except UsageError as error:
        return Measured(entry, trees, str(error))
    return Measured(entry, trees)


def _refuse_trained_on(entry: Entry, manifest: Manifest) -> None:
    """Refuse images that an entry was trained on: they would flatter it."""
    for domain, digest in entry.facts["data"].items():
        if digest in {manifest.domain_digest(one) for one in "AB"}:
            raise UsageError(f"was trained on these images of domain {domain}: give others that it was not trained on")


def _mean(figures: Mapping[str, float], figure: str) -> float:
    found = [value for key, value in figures.items() if key.rpartition("_")[0] == figure]
    if not found:
        raise UsageError(f"choose_by {figure} is not among {', '.join(figures)}")
    return math.fsum(found) / len(found) if all(map(math.isfinite, found)) else math.inf


def cells(group: Sequence[Measured], which: str) -> dict[str, Figure]:
    """The mean over the seeds of a configuration, of each figure that all of them have."""
    trees = [one.trees[which]["figures"] for one in group if which in one.trees]
    shared = [key for key in trees[0] if all(key in tree for tree in trees)] if trees else []
    return {key: Figure.mean([tree[key]["value"] for tree in trees]) for key in shared}


def rank_agreement(results: Sequence[Measured]) -> list[dict[str, Any]]:
    """Kendall's tau between evaluators, over the kernel distances of all snapshots that were measured."""
    trees = {tree["snapshot"]: tree["figures"] for one in results for tree in one.trees.values()}.values()
    found: list[dict[str, Any]] = []
    for direction in ("AB", "BA"):
        keys = sorted({key for tree in trees for key in tree if key.endswith(f"_{direction}")})
        kernel = [key for key in keys if key.startswith(("kd/", "kid_"))]
        values = {
            key.rpartition("_")[0]: [tree[key]["value"] if key in tree else math.nan for tree in trees]
            for key in kernel
        }
        for (one, two), agreement in agreements(values).items():
            facts = {"tau": agreement.tau, "p": agreement.p, "snapshots": agreement.n}
            found.append({"direction": direction, "evaluators": [one, two], **facts})
    return found
