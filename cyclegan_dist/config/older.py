"""Options of older versions in YAML: in presets, and in the `config.yaml` of runs."""

import math
import sys
from collections.abc import Iterable
from typing import Any

from cyclegan_dist.config.yaml_tree import flatten
from cyclegan_dist.errors import UsageError

# In whose place the program chooses.
DROPPED = ("optim.fused", "optim.channels_last", "optim.compile")
# Replaced by another that means the same.
REPLACED = {"optim.ema_decay": "optim.ema_half_life_images"}


def refuse_older(keys: Iterable[str]) -> None:
    """Refuse options of older versions on the command line, with today's; only YAML is read as it was.

    Raises:
        UsageError: naming the first.
    """
    today = {**dict.fromkeys(DROPPED, "optim.fast"), **REPLACED}
    for key in keys:
        if key in today:
            raise UsageError(f"unknown option --{key}: it was replaced by --{today[key]}")


def up_to_date(tree: dict[str, Any], source: str) -> dict[str, Any]:
    """The tree with today's options; says on standard error which others are ignored.

    Raises:
        UsageError: if the value of a replaced one does not fit.
    """
    return _with_half_life(_without_dropped(_with_several_features(tree), source), source)


def without_overridden(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """The tree `below` without the options of older versions whose successor the tree `above`, which wins, gives."""
    gives = flatten(above)
    names = {old.partition(".")[2] for old, new in REPLACED.items() if new in gives}
    optim = below.get("optim")
    if not names or not isinstance(optim, dict):
        return below
    return {**below, "optim": {name: value for name, value in optim.items() if name not in names}}


def _without_dropped(tree: dict[str, Any], source: str) -> dict[str, Any]:
    found = [key for key in DROPPED if key in flatten(tree)]
    if not found:
        return tree
    print(f"{source}: {', '.join(found)} no longer exist and are ignored: optim.fast decides", file=sys.stderr)
    names = {key.partition(".")[2] for key in found}
    return {**tree, "optim": {name: value for name, value in tree["optim"].items() if name not in names}}


def _with_several_features(tree: dict[str, Any]) -> dict[str, Any]:
    """`held_out.features` as a list, which was one name."""
    held_out = tree.get("held_out")
    if not isinstance(held_out, dict) or not isinstance(held_out.get("features"), str):
        return tree
    return {**tree, "held_out": {**held_out, "features": [held_out["features"]]}}


def _with_half_life(tree: dict[str, Any], source: str) -> dict[str, Any]:
    """`optim.ema_decay`, a constant decay per update, as the half-life in images that has this decay, without a ramp: a
    run that was begun with it continues with the same averages.
    """
    optim = tree.get("optim")
    if not isinstance(optim, dict) or "ema_decay" not in optim:
        return tree
    rest = {name: value for name, value in optim.items() if name not in ("ema_decay", "ema_ramp")}
    try:
        decay, batch = float(optim["ema_decay"] or 0), int(optim.get("batch_size") or 1)
    except (TypeError, ValueError):
        decay = batch = -1
    if not 0 <= decay < 1:
        raise UsageError(f"{source}: optim.ema_decay: give optim.ema_half_life_images, images per domain, instead")
    if decay and not optim.get("batch_size"):  # which the command line may still give
        text = "is read as the half-life at batch_size 1: for another one, give optim.ema_half_life_images instead"
        print(f"{source}: optim.ema_decay {decay:g} {text}", file=sys.stderr)
    if not decay:
        return {**tree, "optim": {**rest, "ema_half_life_images": 0.0}}
    return {**tree, "optim": {**rest, "ema_half_life_images": -batch * math.log(2) / math.log(decay), "ema_ramp": 0.0}}
