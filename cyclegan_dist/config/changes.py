"""Differences between the config of a run and the one it is to be continued with: when resumed, or when extended."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from cyclegan_dist.config.config import Config
from cyclegan_dist.config.yaml_tree import flatten
from cyclegan_dist.errors import UsageError

# Keys that may differ when a run is resumed, because they do not change what is learned. The data set is compared by
# its digest.
SAFE_TO_CHANGE = (
    *(
        "name",
        "runs_dir",
        "stop_after",
        "keep_checkpoints",
        "keep_best",
        "best_loss",
        "checkpoints",
        "data.path",
        "data.A",
        "data.B",
        "method.teacher",  # where it is; its digest is compared
        "data.max_bad_fraction",
        "data.workers",
        "data.cache_gb",
        "optim.micro_batch",
        "optim.activation_checkpointing",
        "optim.fast",
    ),
    *("every", "world", "tracking", "held_out", "alerts"),
)

# Keys that may differ in an extension too: what is learned changes from there on, and the state of networks, Adam and
# histories fits as before.
EXTENDABLE = ("schedule.*", "optim.lr", "optim.lr_D", "optim.ema_*", "method.lambda_*", "data.max_pairs", "freeze")

Changes = dict[str, tuple[Any, Any]]
"""By dotted key, the value before and after."""


def changes(old: Config, new: Config) -> Changes:
    """The keys that are not safe to change and differ between two configs."""
    before, after = learned_values(old), learned_values(new)
    # Another method has other keys, and its name is compared.
    return {key: (before[key], after[key]) for key in before if key in after and before[key] != after[key]}


def learned_digest(config: Config) -> str:
    """sha256 of the values that are not safe to change."""
    return hashlib.sha256(json.dumps(learned_values(config), sort_keys=True).encode()).hexdigest()


def learned_values(config: Config) -> dict[str, Any]:
    """The values that affect what is learned, by dotted key."""
    return {key: value for key, value in flatten(dataclasses.asdict(config)).items() if is_learned(key)}


def is_learned(key: str) -> bool:
    """Whether the value of a dotted key affects what is learned."""
    return not any(key == safe or key.startswith(f"{safe}.") for safe in SAFE_TO_CHANGE)


def differing(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The keys in which several configs differ, sorted, and the value of each; None for one that lacks the key.

    Args:
        configs: values by dotted key, by a name.
    """
    keys = sorted({key for values in configs.values() for key in values})
    found = {key: {name: values.get(key) for name, values in configs.items()} for key in keys}
    return {key: values for key, values in found.items() if len({repr(value) for value in values.values()}) > 1}


def refuse_changes(old: Config, new: Config, advice: str = "") -> None:
    """Compare the config a run was started with to the one it is to be resumed with.

    Args:
        old: of the run.
        new: to resume with.
        advice: what else the user can do, if all changed keys are `EXTENDABLE`.

    Raises:
        UsageError: listing every difference that is not `SAFE_TO_CHANGE`.
    """
    changed = changes(old, new)
    if changed:
        way_out = advice if advice and not _not_extendable(changed) else ""
        raise UsageError(
            f"run {new.name} was started with another config:\n"
            + describe(changed, "\n")
            + f"\nchoose another --name, or undo the change{way_out}"
        )


def refuse_extension(name: str, changed: Changes) -> None:
    """Refuse changes that an extension of the run `name` cannot make.

    Raises:
        UsageError: listing them.
    """
    if fixed := _not_extendable(changed):
        raise UsageError(
            f"an extension of run {name} cannot change\n"
            + describe(fixed, "\n")
            + f"\nonly {', '.join(EXTENDABLE)}: start a run of another --name with --init_from"
        )


def describe(changed: Changes, separator: str = ", ") -> str:
    """Each change as `key: before -> after`."""
    indent = "  " if separator == "\n" else ""
    return separator.join(f"{indent}{key}: {before} -> {after}" for key, (before, after) in changed.items())


def _not_extendable(changed: Changes) -> Changes:
    return {
        key: values for key, values in changed.items() if not any(fnmatchcase(key, pattern) for pattern in EXTENDABLE)
    }
