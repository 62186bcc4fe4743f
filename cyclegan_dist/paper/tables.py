"""Tables as YAML files: which rows are trained, for how long, what of them is measured, and the paper's own figures."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclegan_dist.config.features import refuse_other_features
from cyclegan_dist.config.shipped import read_shipped
from cyclegan_dist.config.yaml_tree import check_tree, read_tree, refuse_unknown
from cyclegan_dist.data.config import DataDirection
from cyclegan_dist.errors import UsageError, suggestion
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.networks.bounds import Ge, Gt

SHARED = (
    "base",
    "overrides",
    "images",
    "seeds",
    "choose_by",
    "features",
    "class_rate",
    "metrics",
    "maps",
    "direction",
)  # alike in tables on one page
BATCH = 25  # images that are evaluated at once; translations that are optimised take many small steps otherwise


@dataclass(frozen=True, kw_only=True)
class Column:
    """A figure of one direction."""

    direction: DataDirection
    """From which domain of the data set to which."""
    metric: str = ""
    """Figure of the pipeline `evaluate` without its direction, such as seg/pixel_accuracy. Empty: only what the paper
    reports is shown."""
    best: Literal["highest", "lowest"] = "highest"
    """Which value is the best."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A method or an ablation."""

    preset: str = ""
    """Preset that is joined to the table's base."""
    values: dict[str, Any] = field(default_factory=dict)
    """Values that override those of both, by dotted key."""
    cost: Annotated[float, Gt(0)] = 1.0
    """Measured processor time of an image, as a multiple of that of a row of cost 1. The row sees so many times fewer
    images, in whole epochs, so that all rows take equal time."""
    baseline: str = ""
    """Name of a row whose values are subtracted, seed by seed. Runs of one seed share the order of images and the draws
    of initial weights, so that this says more than two intervals."""
    paper: tuple[float | None, ...] = ()
    """What the paper reports, by column."""
    status: str = ""
    """How well that is known: transcribed, or unverified."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """A statement about a row, true or false of the measured means."""

    says: str
    """The statement."""
    row: str
    """Name of the row it is about."""
    column: str
    """Name of the column."""
    above: str = ""
    """Name of another row: the 95 % interval of the difference to it (Welch) lies above 0."""
    at_most: Annotated[float, Ge(0)] | None = None
    """The row's mean is at most so much, or at most that share of the mean of the row `of`."""
    of: str = ""
    """Name of the row that `at_most` is a share of."""
    between: tuple[str, ...] = ()
    """Names of two other rows: the row's mean is at least the share `at_least` of the way from the first one's mean to
    the second one's. Undecided where the second one's is not better, by `best` of the column."""
    at_least: float | None = None
    """Share of the way between two rows."""

    def __post_init__(self) -> None:
        kinds = bool(self.above) + (self.at_most is not None) + bool(self.between)
        pair = len(self.between) == 2 and self.at_least is not None
        alone = not self.between and self.at_least is None
        if kinds != 1 or (self.of and self.at_most is None) or not (pair or alone):
            raise UsageError(
                f"check {self.says!r}: give one of above: ROW, at_most: NUMBER, which may have of: ROW, and "
                "between: [ROW, ROW] with at_least: SHARE"
            )

    @property
    def rows(self) -> tuple[str, ...]:
        """Names of all rows whose means it takes."""
        return tuple(name for name in (self.row, self.above, self.of, *self.between) if name)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the paper."""

    title: str
    """Heading, with the number in the paper."""
    note: str = ""
    """What differs from the paper."""
    figure: str = ""
    """Heading of its pictures, with the number in the paper."""
    base: str
    """Preset that all rows share: data, networks, batch."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Values that override those of the base, by dotted key."""
    images: Annotated[int, Gt(0)]
    """Images of each domain that a run sees: in whole epochs, half of them at a constant learning rate, half while it
    falls to 0. Minutes would not be reproducible."""
    seeds: tuple[Annotated[int, Ge(0)], ...] = (0, 1, 2)
    """Seeds of the runs of every row."""
    choose_by: str = "kd/untrained"
    """Figure without its direction whose lowest value on the validation images chooses a checkpoint. One that takes no
    pairs is fair to methods that have none."""
    features: str | tuple[str, ...] = "untrained"
    """Network whose features distances are taken between, as of the pipeline `evaluate`, or several."""
    class_rate: tuple[str, ...] = ()
    """ImageNet classes whose share is measured, as of the pipeline `evaluate`."""
    metrics: tuple[str, ...] = ("distances", "paired", "segmentation")
    """Groups of figures, as of the pipeline `evaluate`."""
    maps: Literal["", "A", "B"] = ""
    """Domain with label maps. Where the data set has them in the other one, directions are exchanged."""
    direction: DataDirection = "AtoB"
    """`data.direction` of methods that translate both ways, whose forward cycle starts from their domain A. Others are
    trained once for each direction."""
    columns: dict[str, Column]
    """By heading."""
    rows: dict[str, Row]
    """By name, in the order of the paper."""
    truth: Row | None = None
    """The row of real images, scored like translations."""
    checks: tuple[Check, ...] = ()
    """Statements about the rows: what the paper found, or what a table of one's own is for."""

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UsageError("seeds: give at least one, and none twice")
        refuse_other_features(self.choose_by, self.networks, "choose_by")
        self.measured()  # refuses what cannot be measured
        for name, row in self._with_truth():
            if row.paper and len(row.paper) != len(self.columns):
                raise UsageError(f"row {name}: paper: give one figure for each of the {len(self.columns)} columns")
            if row.baseline and (row.baseline not in self.rows or row.baseline == name):
                raise UsageError(f"row {name}: no other row {row.baseline!r}: {suggestion(row.baseline, self.rows)}")
        for check in self.checks:
            for name in check.rows:
                if name not in self.rows:
                    raise UsageError(f"check {check.says!r}: no row {name!r}: {suggestion(name, self.rows)}")
            if not self.columns.get(check.column, Column(direction="AtoB")).metric:
                raise UsageError(f"check {check.says!r}: no column {check.column!r} that is measured")

    def _with_truth(self) -> Iterator[tuple[str, Row]]:
        yield from self.rows.items()
        if self.truth is not None:
            yield "truth", self.truth

    @property
    def directions(self) -> tuple[DataDirection, ...]:
        """Those that are measured, each once."""
        return tuple(dict.fromkeys(column.direction for column in self.columns.values() if column.metric))

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks of `features`."""
        return (self.features,) if isinstance(self.features, str) else self.features

    def exchanged(self) -> "Table":
        """The same table for a data set with exchanged domains."""
        other: Mapping[DataDirection, DataDirection] = {"AtoB": "BtoA", "BtoA": "AtoB"}
        maps: Mapping[str, Literal["", "A", "B"]] = {"": "", "A": "B", "B": "A"}
        columns = {
            name: dataclasses.replace(column, direction=other[column.direction])
            for name, column in self.columns.items()
        }
        return dataclasses.replace(self, columns=columns, maps=maps[self.maps], direction=other[self.direction])

    def measured(self, palette: str = "", segmenter: str = "") -> EvaluationConfig:
        """What is measured of each run."""
        return EvaluationConfig(
            metrics=self.metrics,
            features=self.networks,
            class_rate=self.class_rate,
            palette=palette,
            segmenter=segmenter,
            batch_size=BATCH,
        )


def load_tables(names: str) -> dict[str, Table]:
    """The tables of YAML files or shipped ones, several joined by `+`, by their names without folder and ending.

    Raises:
        UsageError: if there is none of a name, a key or value does not fit, or tables to be trained together differ in
            what all runs share.
    """
    tables: dict[str, Table] = {}
    for name in names.split("+"):
        if Path(name).stem in tables:
            raise UsageError(f"{names} names {Path(name).stem} twice: give each table once")
        tables[Path(name).stem] = _load(name)
    (first, one), *others = tables.items()
    for name, other in others:
        for key in SHARED:
            if getattr(one, key) != getattr(other, key):
                raise UsageError(f"{first} and {name} have different {key}: run them one by one")
    rows: dict[str, Row] = {}
    for name, table in tables.items():
        for row_name, row in table.rows.items():
            kept = rows.setdefault(row_name, row)
            if (kept.preset, kept.values, kept.cost) != (row.preset, row.values, row.cost):
                raise UsageError(f"row {row_name} of {name} is trained otherwise in another table: name it differently")
    return tables


def _load(name: str) -> Table:
    text, source = read_shipped(name, "table")
    tree = read_tree(text, source)
    _refuse_unknown(tree, source)
    return check_tree(tree, Table, source)


def _refuse_unknown(tree: Mapping[str, Any], source: str) -> None:
    """Refuse unknown keys, which `check_tree` ignores, with the nearest known one."""

    def refuse(parts: Sequence[Any], kind: type, where: str) -> None:
        for part in parts:
            if isinstance(part, dict):
                refuse_unknown(part, [f.name for f in dataclasses.fields(kind)], f"{source}{where}")

    refuse([tree], Table, "")
    for key, kind in (("columns", Column), ("rows", Row)):
        found = tree.get(key)
        refuse(list(found.values()) if isinstance(found, dict) else [], kind, f": {key}")
    refuse([tree.get("truth")], Row, ": truth")
    checks = tree.get("checks")
    refuse(checks if isinstance(checks, list) else [], Check, ": checks")
