"""Sweep files: found, read and checked before anything starts."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cyclegan_dist.config.config import Config, load_config
from cyclegan_dist.config.features import not_trained_with, refuse_other_features
from cyclegan_dist.config.held_out import held_out_data
from cyclegan_dist.config.shipped import read_shipped
from cyclegan_dist.config.yaml_tree import check_tree, flatten, read_tree, refuse_unknown
from cyclegan_dist.data.config import MANIFEST
from cyclegan_dist.errors import UsageError, pipeline_command, suggestion
from cyclegan_dist.sweep.config import PRESET, VARIANT, SweepConfig, Values


def load_sweep(name_or_file: str, changes: Mapping[str, Any] | None = None) -> SweepConfig:
    """A shipped sweep, or a YAML file; `changes` are keys of it with other values, of which `overrides` are added.

    Raises:
        UsageError: if there is none of that name, a key does not exist, or a value does not fit, as far as that can be
            known before drawing: each value that is listed, and both ends of each range, on the base.
    """
    text, source = read_shipped(name_or_file, "sweep")
    tree = read_tree(text, source)
    changed = dict(changes or {})
    if isinstance(tree.get("overrides"), dict):
        changed["overrides"] = tree["overrides"] | changed.get("overrides", {})
    refuse_unknown(tree, [f.name for f in dataclasses.fields(SweepConfig)], source)
    for key, values in (tree.get("space") or {}).items():
        if not isinstance(values, dict):
            raise UsageError(f"{source}: space {key}: say how to choose, such as {{choice: [0, 50]}}")
        refuse_unknown(values, [f.name for f in dataclasses.fields(Values)], f"{source}: space {key}")
    spec = check_tree({"name": Path(name_or_file).stem, **tree, **changed}, SweepConfig, source)
    if not {PRESET, VARIANT} & spec.space.keys():  # which may choose another method, with other keys
        known = flatten(dataclasses.asdict(load_config(spec.base)))
        refuse_unknown(spec.overrides, known, f"{source}, or the command line")
    ends: dict[str, tuple[Any, ...]] = {key: values.listed or values.bounds or () for key, values in spec.space.items()}
    first = {key: values[0] for key, values in ends.items()}
    for key, values in ends.items():
        for value in values:
            try:
                config = spec.config({**first, key: value}, "config")
                config.micro_batches(spec.workers_per_trial)
            except UsageError as error:
                raise UsageError(f"{source}: space, at {key} {value}: {error}") from error
            _refuse_metric(spec.metric, config, source)
    return spec


def _refuse_metric(metric: str, config: Config, source: str) -> None:
    """Refuse a metric that a trial with this config would never report."""
    if not metric:
        return
    if "/" in metric and not metric.startswith("loss/"):
        data = config.data.path
        missing = data != "synthetic" and "://" not in data and not Path(data, MANIFEST).exists()  # which is said later
        held_out = held_out_data(config.held_out, data) or (missing and config.held_out.data)
        if not (held_out and config.every.snapshot):
            raise UsageError(
                f"{source}: metric {metric} comes from evaluations: set held_out.data to a data set, or prepare one "
                f"with {pipeline_command('prepare')} --validation, and set every.snapshot"
            )
        not_trained_with(config.held_out.features, config.method.trained_with, f"{source}: a trial")
        for option, figure in (("metric", metric), ("held_out.best", config.held_out.best)):
            refuse_other_features(figure, config.held_out.features, f"{source}: {option}")
        return
    known = [f"loss/{name}" for name in config.method.losses]
    if value_of(dict.fromkeys(known, 0.0), metric) is None:
        guess = suggestion(metric, known)
        raise UsageError(f"{source}: metric {metric}: {guess}there are {', '.join(known)}, and metrics of evaluations")
    if not config.every.log:
        raise UsageError(f"{source}: every.log 0 writes no losses: set it, or compare trials by another metric")


def value_of(values: Mapping[str, float], metric: str) -> float | None:
    """The value of a metric in a record of a run's journal, if it is there."""
    if not metric:
        return None
    found = [value for key, value in values.items() if key == metric or key.rpartition("_")[0] == metric]
    return sum(found) / len(found) if found else None
