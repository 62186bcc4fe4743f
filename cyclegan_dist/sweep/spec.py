"""A sweep as its user writes it: which configs to try, what to judge them by, and when to give one up."""

import dataclasses
import difflib
import importlib.resources
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt

from cyclegan_dist.config.config import NAME_PATTERN, Config, load_config, with_values
from cyclegan_dist.config.yaml_tree import check_tree, read_tree, refuse_unknown
from cyclegan_dist.errors import UsageError

PRESET = "preset"  # a key of a sweep's space that is none of a config: a preset that is joined to the base
LOSSES = ("G", "D", "G_AB", "G_BA", "cycle_A", "cycle_B", "idt_A", "idt_B", "D_A", "D_B")
# What a sweep sets itself, in each of its trials.
OWN = ("name", "runs_dir", "stop_after", "checkpoints", "world.num_workers", "world.max_failures", "tracking.parent")


@dataclass(frozen=True, kw_only=True)
class Values:
    """The values of a key: one of these."""

    choice: tuple[Any, ...] = ()
    """Drawn from these, each as likely."""
    grid: tuple[Any, ...] = ()
    """Each of these in turn, with every combination of the other grids."""
    uniform: tuple[float, float] | None = None
    """Between two numbers."""
    loguniform: tuple[float, float] | None = None
    """Between two numbers above 0, each factor as likely."""
    randint: tuple[int, int] | None = None
    """A whole number, both ends included."""

    def __post_init__(self) -> None:
        given = [f.name for f in dataclasses.fields(self) if getattr(self, f.name)]
        if len(given) != 1:
            kinds = ", ".join(f.name for f in dataclasses.fields(self))
            raise UsageError(
                f"give each key of space one of {kinds}, such as {{choice: [0, 50]}}; not {given or 'none'}"
            )
        low, high = self.bounds or (0, 1)
        if not low < high:
            raise UsageError(f"space: {given[0]} [{low}, {high}]: the first must be less than the second")
        if self.loguniform and low <= 0:
            raise UsageError(f"space: loguniform [{low}, {high}]: both must be above 0")

    @property
    def listed(self) -> tuple[Any, ...]:
        """The values, where they can be told one by one."""
        return self.grid or self.choice

    @property
    def ends(self) -> tuple[Any, ...]:
        """What must be allowed for every value to be: all that are listed, or the ends of a range."""
        return self.listed or self.bounds or ()

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The two ends of a range."""
        return self.uniform or self.loguniform or self.randint


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """A sweep. Each trial is a run of its own, in a folder RUNS_DIR/NAME/trial-0000."""

    name: str = ""
    """The sweep's folder below runs_dir, and its name in MLflow. The same name again goes on. Empty: the file's."""
    base: str = ""
    """Preset or YAML file of the config that trials share, or several joined by +."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Other values for it, by dotted key."""
    space: dict[str, Values] = field(default_factory=dict)
    """Values to try, by dotted key. Several keys joined by a comma take the same value. The key `preset` names presets
    that are joined to the base."""
    num_trials: Annotated[int, Ge(0)] = 0
    """Trials. 0: all of a grid."""
    metric: str = "loss/cycle"
    """What trials are judged by: a loss, or a figure of the evaluations on held_out.data, such as kd/untrained. A
    name without its direction or domain is the mean of both."""
    mode: Literal["min", "max"] = "min"
    """Whether the lowest or the highest is best."""
    sampler: Literal["random", "grid", "optuna"] = "random"
    """`random`: independent draws. `grid`: every combination. `optuna`: its tree-structured Parzen estimator, which
    learns from the trials that have ended."""
    scheduler: Literal["none", "asha"] = "asha"
    """`none`: every trial runs to its end. `asha`: asynchronous successive halving, which stops those that are behind.
    It cuts trials short, not their learning rate schedule."""
    max_images: Annotated[int, Ge(0)] = 0
    """Images after which a trial ends, schedule unchanged. 0: at the end of the schedule; asha needs a number."""
    grace_images: Annotated[int, Ge(0)] = 0
    """Images that asha leaves every trial."""
    reduction_factor: Annotated[int, Gt(1)] = 3
    """One in so many trials survives each of asha's rungs, which are grace_images times its powers."""
    max_concurrent: Annotated[int, Ge(0)] = 0
    """Trials at once. 0: as many as the cluster has room for."""
    workers_per_trial: Annotated[int, Gt(0)] = 1
    """Ranks of each trial."""
    max_failures: Annotated[int, Ge(0)] = 2
    """Times that a trial is started again, from its last checkpoint, after it crashed. One that diverged is not."""
    seed: Annotated[int, Ge(0)] = 0
    """Of the draws. The trials' own seed is the config's."""

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME_PATTERN, self.name or "sweep"):
            raise UsageError(f"name {self.name!r}: give letters, digits, dots, dashes and underscores")
        if not self.base or not self.space:
            raise UsageError(
                f"{'space' if self.base else 'base'} is missing: say what to {'try' if self.base else 'start from'}"
            )
        if self.metric.startswith("loss/") or "/" not in self.metric:
            self._refuse_metric()
        if self.scheduler == "asha" and not 0 < self.grace_images < self.max_images:
            raise UsageError(
                f"scheduler asha needs 0 < grace_images < max_images, not {self.grace_images} and {self.max_images}"
            )
        self._refuse_sampler()
        for key in self.keys:
            if key in OWN:
                raise UsageError(f"space: {key} is set by the sweep itself: leave it out")

    def _refuse_metric(self) -> None:
        known = [f"loss/{name}" for name in LOSSES]
        if value_of(dict.fromkeys(known, 0.0), self.metric) is None:
            close = difflib.get_close_matches(self.metric, known, n=1)
            guess = f"did you mean {close[0]}? " if close else ""
            raise UsageError(f"metric {self.metric}: {guess}there are {', '.join(known)}, and figures of evaluations")

    def _refuse_sampler(self) -> None:
        for key, values in self.space.items():
            if self.sampler == "grid" and not values.listed:
                raise UsageError(f"sampler grid needs values that can be listed: give {key} as grid or choice")
            if self.sampler == "optuna" and values.grid:
                raise UsageError(f"sampler optuna chooses by itself: give {key} as choice, not as grid")
        if self.sampler != "grid" and not self.num_trials:
            raise UsageError(f"sampler {self.sampler} needs num_trials: say how many")

    @property
    def keys(self) -> list[str]:
        """The dotted keys that the space moves."""
        return [key.strip() for joined in self.space for key in joined.split(",")]

    @property
    def trials(self) -> int:
        """How many trials the sweep has."""
        if self.sampler != "grid":
            return self.num_trials
        whole = sum(1 for _ in self.combinations())
        return min(whole, self.num_trials or whole)

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Every combination of the values that are taken in turn, the first key slowest."""
        turned = {k: v.listed if self.sampler == "grid" else v.grid for k, v in self.space.items()}
        turned = {key: values for key, values in turned.items() if values}
        return (dict(zip(turned, values, strict=True)) for values in itertools.product(*turned.values()))

    def config(self, values: Mapping[str, Any], source: str = "sweep") -> Config:
        """The config of a trial: the base, the overrides, then `values` by the keys of the space.

        Raises:
            UsageError: for a key that does not exist, or values that do not fit, alone or together.
        """
        preset = str(values.get(PRESET, ""))
        base = load_config(f"{self.base}+{preset}" if preset else self.base)
        flat = {key.strip(): value for joined, value in values.items() for key in joined.split(",") if joined != PRESET}
        return with_values(base, {**self.overrides, **flat}, source)


def load_sweep(name_or_file: str, changes: Mapping[str, Any] | None = None) -> SweepConfig:
    """A shipped sweep, or a YAML file; `changes` are keys of it with other values, of which `overrides` are added.

    Raises:
        UsageError: if there is none of that name, a key does not exist, or a value does not fit, as far as that can be
            known before drawing: each value that is listed, and both ends of each range, on the base.
    """
    text, source, stem = _find(name_or_file)
    tree = read_tree(text, source)
    changed = dict(changes or {})
    if isinstance(tree.get("overrides"), dict):
        changed["overrides"] = tree["overrides"] | changed.get("overrides", {})
    refuse_unknown(tree, [f.name for f in dataclasses.fields(SweepConfig)], source)
    for key, values in (tree.get("space") or {}).items():
        if not isinstance(values, dict):
            raise UsageError(f"{source}: space {key}: say how to choose, such as {{choice: [0, 50]}}")
        refuse_unknown(values, [f.name for f in dataclasses.fields(Values)], f"{source}: space {key}")
    spec = check_tree({"name": stem, **tree, **changed}, SweepConfig, source)
    _refuse_values(spec, source)
    return spec


def _refuse_values(spec: SweepConfig, source: str) -> None:
    """Values that cannot be trained with, each beside the others' first ones."""
    first = {key: values.ends[0] for key, values in spec.space.items()}
    for key, values in spec.space.items():
        for value in values.ends:
            try:
                config = spec.config({**first, key: value}, "config")
                config.optim.micro_batches(spec.workers_per_trial)
            except UsageError as error:
                raise UsageError(f"{source}: space, at {key} {value}: {error}") from error
            _refuse_silence(spec, config, source)


def _refuse_silence(spec: SweepConfig, config: Config, source: str) -> None:
    if spec.metric.startswith("loss/") and not config.every.log:
        raise UsageError(f"{source}: every.log 0 writes no losses: there is nothing to judge trials by")
    if not spec.metric.startswith("loss/") and not (config.held_out.data and config.every.snapshot):
        raise UsageError(
            f"{source}: metric {spec.metric} comes of evaluations: set held_out.data to a data set, and every.snapshot"
        )


def value_of(values: Mapping[str, float], metric: str) -> float | None:
    """What a record of a journal says of a metric, if it does."""
    found = [value for key, value in values.items() if key == metric or key.rpartition("_")[0] == metric]
    return sum(found) / len(found) if found else None


def shipped() -> list[str]:
    """Names of the shipped sweeps."""
    return sorted(path.name.removesuffix(".yaml") for path in _folder().iterdir() if path.name.endswith(".yaml"))


def _find(name_or_file: str) -> tuple[str, str, str]:
    """The text of a sweep, what to call it in errors, and the name it has if it names none."""
    path = Path(name_or_file)
    if path.suffix in (".yaml", ".yml"):
        try:
            return path.read_text(), str(path), path.stem
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if name_or_file not in shipped():
        close = difflib.get_close_matches(name_or_file, shipped(), n=1)
        guess = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f"no sweep {name_or_file!r}: {guess}there are {', '.join(shipped())}; or name a .yaml file")
    return (_folder() / f"{name_or_file}.yaml").read_text(), f"sweep {name_or_file}", name_or_file


def _folder() -> Any:
    return importlib.resources.files("cyclegan_dist.config") / "presets" / "sweeps"
