"""The runs of tables: one for each row, seed and, of methods of one direction, direction; together a sweep."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.config import DataDirection
from cyclegan_dist.errors import UsageError
from cyclegan_dist.paper.data import Parts
from cyclegan_dist.paper.tables import Row, Table
from cyclegan_dist.sweep.config import PRESET, VARIANT, SweepConfig, Values
from cyclegan_dist.training.run_folder import check_run

SNAPSHOTS = 4  # of a run, from which one is chosen


@dataclass(frozen=True)
class Variant:
    """What the runs of all seeds share.

    Attributes:
        row: its name.
        direction: `data.direction`.
        measured: directions of the data set that its generators translate and a table has columns for.
        values: by dotted key, and its preset.
    """

    row: str
    direction: DataDirection
    measured: tuple[DataDirection, ...]
    values: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """The runs of tables.

    Attributes:
        spec: the sweep.
        variants: by the names that the sweep has for them.
        failed: rows that cannot be trained, with the reason.
    """

    spec: SweepConfig
    variants: dict[str, Variant]
    failed: dict[str, str]


def plan(
    tables: Mapping[str, Table],
    data: Parts,
    name: str,
    overrides: Mapping[str, Any],
    *,
    images: int = 0,
    seeds: tuple[int, ...] = (),
) -> Plan:
    """Plan the runs, and check each of them on the data set.

    Args:
        tables: as `load_tables` gives them.
        data: the data set.
        name: of the sweep, and its folder.
        overrides: values by dotted key, for all runs.
        images: instead of those of the tables; 0: theirs.
        seeds: instead of those of the tables, if there are any.

    Raises:
        UsageError: if no row can be trained.
    """
    one = next(iter(tables.values()))
    images = images or one.images
    budget = budget_of(images, data.images)
    # Snapshots are measured when all runs have ended; beside them it would take their cores.
    common = {
        "held_out.data": "",
        **one.overrides,
        "data.path": data.path,
        "data.max_samples": data.max_samples,
        **budget,
        **overrides,
    }
    variants: dict[str, Variant] = {}
    failed: dict[str, str] = {}
    for row in dict.fromkeys(row for table in tables.values() for row in table.rows):
        try:
            values = _values(
                next(t.rows[row] for t in tables.values() if row in t.rows), images, data.images, overrides
            )
            variants |= _variants(row, values, tables, common)
        except UsageError as error:
            failed[row] = str(error)
    if not variants:
        raise UsageError(f"no row of {', '.join(tables)} can be trained: {next(iter(failed.values()))}")
    spec = SweepConfig(
        name=name,
        base=one.base,
        overrides=common,
        space={"seed": Values(grid=seeds or one.seeds), VARIANT: Values(grid=tuple(variants))},
        variants={name: variant.values for name, variant in variants.items()},
        sampler="grid",
        scheduler="none",
        metric="",
    )
    return Plan(spec, variants, failed)


def budget_of(images: float, epoch: int) -> dict[str, int]:
    """By dotted key, a schedule of so many images, in whole epochs of `epoch` images, and when snapshots are taken."""
    epochs = max(2, round(images / epoch))
    return {
        "schedule.n_epochs": epochs - epochs // 2,
        "schedule.n_epochs_decay": epochs // 2,
        "every.snapshot": max(1, epochs * epoch // SNAPSHOTS),
    }


def _values(row: Row, images: int, epoch: int, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a row by dotted key, with a schedule of its own if it sees other images or fewer of them than `images`
    in epochs of `epoch`.
    """
    own_epoch = row.values.get("data.max_samples") or epoch
    own = budget_of(images / row.cost, own_epoch) if row.cost != 1 or own_epoch != epoch else {}
    return {PRESET: row.preset, **{key: n for key, n in own.items() if key not in overrides}, **row.values}


def _variants(
    row: str, values: Mapping[str, Any], tables: Mapping[str, Table], common: Mapping[str, Any]
) -> dict[str, Variant]:
    """Those of one row, checked.

    Raises:
        UsageError: if it cannot be trained.
    """
    within = [table for table in tables.values() if row in table.rows]
    wanted: tuple[DataDirection, ...] = tuple(
        dict.fromkeys(direction for table in within for direction in table.directions)
    )
    direction = within[0].direction
    config = _checked(within[0].base, values, common, direction)
    if len(config.method.directions) == 2:
        return {row: Variant(row, direction, wanted, {**values, "data.direction": direction})}
    found: dict[str, Variant] = {}
    for direction in wanted:
        _checked(within[0].base, values, common, direction)
        found[f"{row} {direction}"] = Variant(row, direction, (direction,), {**values, "data.direction": direction})
    return found


def _checked(base: str, values: Mapping[str, Any], common: Mapping[str, Any], direction: DataDirection) -> Config:
    one = {"x": {**values, "data.direction": direction}}
    spec = SweepConfig(
        base=base,
        overrides=dict(common),
        space={VARIANT: Values(grid=("x",))},
        variants=one,
        sampler="grid",
        scheduler="none",
        metric="",
    )
    config = spec.config({VARIANT: "x"}, base)
    return check_run(dataclasses.replace(config, name="checked-only"))
