"""Everything between the command line of the leaderboard and its page."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cyclegan_dist.config.features import kernel_distance_of, refuse_other_features
from cyclegan_dist.data.domain_names import domain_label
from cyclegan_dist.data.location import data_path
from cyclegan_dist.data.manifest import READING, Manifest, open_manifest
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.cached import EvaluationCache, choosing, protocol_digest
from cyclegan_dist.evaluation.features import resizing
from cyclegan_dist.leaderboard.entries import Entry, grouped, open_entries
from cyclegan_dist.leaderboard.measure import TEST, VALIDATION, Measured, measured
from cyclegan_dist.leaderboard.options import Leaderboard
from cyclegan_dist.leaderboard.page import as_results, markdown
from cyclegan_dist.step.device_name import device_name
from cyclegan_dist.step.distributed import World, join
from cyclegan_dist.storage.files import write_atomic
from cyclegan_dist.tracking.journal import source_commit


def run(command: Leaderboard, said: str, report: Callable[[str], object]) -> dict[str, Any]:
    """Measure what has not been, write page and JSON, and return the latter.

    Args:
        command: what the user wants.
        said: the command line, for the page.
        report: called with a line for what takes time and what is wrong.

    Raises:
        UsageError: for errors that the user can fix, and if nothing could be measured.
    """
    if command.choose_by:
        refuse_other_features(command.choose_by, command.what.features, "--choose-by")
    entries, parts = open_entries(command.sources), _parts(command, report)
    choose_by = command.choose_by or _fair_to_all(command.what.features, entries)
    # What the page says of the images is of the domains as the data set has them.
    protocol = protocol_digest(command.what, parts)
    configs = {TEST: command.what, VALIDATION: choosing(command.what, choose_by)}
    world = join(command.device)
    cache = EvaluationCache(parts, configs, lambda: protocol, world, pages="")
    results: dict[str, Measured] = {}
    for entry in entries:
        one = results[entry.name] = measured(entry, cache, choose_by, report)
        if one.text:
            report(f"{entry.name}: {one.text}")
    if not any(one.trees for one in results.values()):
        raise UsageError(f"nothing could be measured: {next(iter(results.values())).text}")
    groups = {name: [results[entry.name] for entry in group] for name, group in grouped(entries).items()}
    facts = _protocol(command, said, choose_by, parts, list(results.values()), world, protocol)
    found = as_results(groups, facts)
    if world.is_first:
        try:
            command.out.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(command.out.with_suffix(".json"), json.dumps(found, indent=1, sort_keys=True) + "\n")
            write_atomic(command.out, markdown(groups, facts, choose_by))
        except OSError as error:
            raise UsageError(f"cannot write {command.out}: {error.strerror}; choose another --out") from error
    return found


def _fair_to_all(features: Sequence[str], entries: Sequence[Entry]) -> str:
    """The kernel distance with the first network that has trained no entry, or else with the first one."""
    helpers = {name for entry in entries for name in entry.last.trained_with}
    fair = (one for one in features if one.partition(":")[0] not in helpers)
    return kernel_distance_of(next(fair, features[0]))


def _parts(command: Leaderboard, report: Callable[[str], object]) -> dict[str, Manifest]:
    """The images that are measured on, and those that are chosen by, if there are any.

    Raises:
        UsageError: if there are none to measure on, or both are the same.
    """
    columns = (*READING, "name")
    parts = {TEST: open_manifest(data_path(command.data, command.split), columns)}
    try:
        parts[VALIDATION] = open_manifest(f"{command.data.rstrip('/')}/{VALIDATION}", columns)
    except UsageError:
        report(f"{command.data} has no part {VALIDATION}, so only last snapshots are measured")
    else:
        if parts[TEST].digest == parts[VALIDATION].digest:
            raise UsageError(
                f"--split {command.split}: snapshots are chosen by these images, the part {VALIDATION}, so figures of "
                "them would be too good: give a part with others"
            )
    if command.what.count:
        report(f"only the first {command.what.count} images of each domain are measured")
    return parts


def _protocol(
    command: Leaderboard,
    said: str,
    choose_by: str,
    parts: dict[str, Manifest],
    results: list[Measured],
    world: World,
    protocol: str,
) -> dict[str, Any]:
    """What the figures depend on, without paths of this machine."""
    what, trees = command.what, [tree for one in results for tree in one.trees.values()]
    networks = {name: digest for tree in trees for name, digest in tree.get("features", {}).items()}
    chosen = f"{choose_by}, lowest mean over directions on the part {VALIDATION}" if VALIDATION in parts else "none"
    return {
        "command": f"`{said}`",
        "images measured": _images(parts[TEST], what.count),
        "images chosen by": _images(parts[VALIDATION], what.count) if VALIDATION in parts else "none",
        "choice": chosen,
        "size": ", ".join(sorted({tree["size"] for tree in trees if "size" in tree})),
        "evaluators": "; ".join(
            f"{name}, {resizing(name)} (sha256 {digest or 'none, it has no file'})" for name, digest in networks.items()
        ),
        "left out because they took part in a training": ", ".join(
            sorted({name for tree in trees for name in tree.get("left_out", ())})
        )
        or "none",
        "data": ", ".join(f"{Path(command.data).name}/{part} {m.digest[:12]}" for part, m in parts.items()),
        "evaluated on": device_name(world.device),
        "commit of the evaluation": source_commit() or "unknown",
        "digest of the protocol": protocol,
        "metrics": ", ".join(what.metrics),
        "parts of the images for the interval of a kernel distance within a run": what.subsets,
    }


def _images(manifest: Manifest, count: int) -> str:
    names = manifest.domain_names
    return ", ".join(f"{min(n, count or n)} of {domain_label(domain, names)}" for domain, n in manifest.samples.items())
