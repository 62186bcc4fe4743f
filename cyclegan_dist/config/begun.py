"""Configs of runs that were begun before an option existed whose default has changed what such a run learns."""

import dataclasses
from collections.abc import Collection
from typing import Any

from cyclegan_dist.config.config import Config, check_config, for_method, with_values
from cyclegan_dist.config.yaml_tree import flatten

# What such runs do, for each of these options.
BEGUN_WITH = {"method.lambda_critic": 1.0}


def read_begun(tree: dict[str, Any], source: str) -> Config:
    """The config of a run from its own file, which may be older than options whose defaults have changed what they
    replace.

    Raises:
        UsageError: as `check_config`.
    """
    config, known = check_config(tree, source), flatten(tree)
    values = flatten(dataclasses.asdict(config))
    return with_values(config, {k: v for k, v in BEGUN_WITH.items() if k in values and k not in known}, source)


def as_begun(config: Config, kept: Config, given: Collection[str] = ()) -> Config:
    """`config`, of a command that resumes the run or sweep of config `kept`; options of `BEGUN_WITH` that it leaves at
    their default have the values that it was begun with, except for the keys in `given`.
    """
    before, now = (flatten(dataclasses.asdict(one)) for one in (kept, config))
    default = flatten(dataclasses.asdict(for_method(config.method.name)()))
    changed = {
        key: value
        for key, value in BEGUN_WITH.items()
        if key in now and key not in given and now[key] == default[key] and before.get(key) == value
    }
    return with_values(config, changed, "config") if changed else config
