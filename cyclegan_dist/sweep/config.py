"""The YAML format of a sweep: which configs to try, the metric to compare them by, and when to stop a trial early."""

import dataclasses
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from cyclegan_dist.config.config import NAME_PATTERN, Config, load_config, with_values
from cyclegan_dist.errors import UsageError, suggestion
from cyclegan_dist.networks.bounds import Ge, Gt

# Keys of a sweep's space, not of a config: a preset that is joined to the base, and one of `SweepConfig.variants`.
PRESET, VARIANT = "preset", "variant"
# Keys that a sweep sets itself in each trial.
OWN = ("name", "runs_dir", "stop_after", "checkpoints", "world.num_workers", "world.max_failures", "tracking.parent")


@dataclass(frozen=True, kw_only=True)
class Values:
    """The values of a key, given in one of these ways."""

    choice: tuple[Any, ...] = ()
    """Drawn from these, with equal probability."""
    grid: tuple[Any, ...] = ()
    """Each of these in turn, with every combination of the other grids."""
    uniform: tuple[float, float] | None = None
    """Between two numbers."""
    loguniform: tuple[float, float] | None = None
    """Between two numbers above 0, uniform in the logarithm."""
    randint: tuple[int, int] | None = None
    """An integer, both ends included."""

    def __post_init__(self) -> None:
        kinds = [f.name for f in dataclasses.fields(self)]
        given = [kind for kind in kinds if getattr(self, kind)]
        if len(given) != 1:
            raise UsageError(
                f"give each key of space one of {', '.join(kinds)}, such as {{choice: [0, 50]}}; not {given or 'none'}"
            )
        low, high = self.bounds or (0, 1)
        if not low < high:
            raise UsageError(f"space: {given[0]} [{low}, {high}]: the first must be less than the second")
        if self.loguniform and low <= 0:
            raise UsageError(f"space: loguniform [{low}, {high}]: both must be above 0")

    @property
    def listed(self) -> tuple[Any, ...]:
        """The values, if they are given one by one."""
        return self.grid or self.choice

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The two ends of a range."""
        return self.uniform or self.loguniform or self.randint


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """A sweep. Each trial is a separate run, in a folder such as RUNS_DIR/NAME/trial-0000."""

    name: str = ""
    """The sweep's folder below runs_dir, and its name in MLflow. An existing sweep is resumed. Empty: the file's."""
    base: str = ""
    """Preset or YAML file of the config that trials share, or several joined by +."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Values that override those of the base, by dotted key."""
    space: dict[str, Values] = field(default_factory=dict)
    """Values to try, by dotted key. Several keys joined by a comma take the same value. The key `preset` names presets
    that are joined to the base, the key `variant` some of `variants`."""
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Values that belong together, by dotted key, under names that the key `variant` of the space chooses from. The key
    `preset` among them names a preset that is joined to the base first."""
    num_trials: Annotated[int, Ge(0)] = 0
    """Number of trials. 0: all of a grid."""
    metric: str = "loss/cycle"
    """Metric that trials are compared by: a loss, or one of the evaluations on held_out.data, such as kd/untrained. A
    name without its direction or domain is the mean of both. Empty: trials are not compared, which takes scheduler none
    and a sampler that does not learn."""
    mode: Literal["min", "max"] = "min"
    """Whether the lowest or the highest is best."""
    sampler: Literal["random", "grid", "optuna"] = "random"
    """`random`: independent draws. `grid`: every combination. `optuna`: its tree-structured Parzen estimator, which
    learns from the trials that have ended."""
    scheduler: Literal["none", "asha"] = "asha"
    """`none`: every trial runs to its end. `asha`: asynchronous successive halving, which stops trials that are behind;
    learning rate schedules are not shortened."""
    max_images: Annotated[int, Ge(0)] = 0
    """Images after which a trial ends, schedule unchanged. 0: at the end of the schedule; asha requires a limit."""
    grace_images: Annotated[int, Ge(0)] = 0
    """Images that every trial sees before asha may stop it."""
    reduction_factor: Annotated[int, Gt(1)] = 3
    """One in so many trials passes each rung of asha. Rungs are grace_images times the powers of this number."""
    max_concurrent: Annotated[int, Ge(0)] = 0
    """Trials that run at once. 0: as many as the cluster has room for."""
    workers_per_trial: Annotated[int, Gt(0)] = 1
    """Ranks of each trial."""
    max_failures: Annotated[int, Ge(0)] = 2
    """Times that a crashed trial is restarted, from its last checkpoint. A trial that diverged is not restarted."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the draws. The trials' own seed is that of the config."""

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME_PATTERN, self.name or "sweep"):
            raise UsageError(f"name {self.name!r}: give letters, digits, dots, dashes and underscores")
        if not self.base or not self.space:
            raise UsageError(
                f"{'space' if self.base else 'base'} is missing: say what to {'try' if self.base else 'start from'}"
            )
        if not self.metric and (self.scheduler == "asha" or self.sampler == "optuna"):
            raise UsageError("metric is missing: scheduler asha and sampler optuna compare trials by it")
        if self.scheduler == "asha" and not 0 < self.grace_images < self.max_images:
            raise UsageError(
                f"scheduler asha needs 0 < grace_images < max_images, not {self.grace_images} and {self.max_images}"
            )
        for key, values in self.space.items():
            if self.sampler == "grid" and not values.listed:
                raise UsageError(f"sampler grid needs values that can be listed: give {key} as grid or choice")
            if self.sampler == "optuna" and values.grid:
                raise UsageError(f"sampler optuna does not take grids: give {key} as choice")
        if self.sampler != "grid" and not self.num_trials:
            raise UsageError(f"sampler {self.sampler} needs num_trials: say how many")
        for key in _split(dict.fromkeys(self.space)):
            if key in OWN:
                raise UsageError(f"space: {key} is set by the sweep itself: leave it out")

    @property
    def trials(self) -> int:
        """How many trials the sweep has."""
        if self.sampler != "grid":
            return self.num_trials
        whole = len(self.combinations())
        return min(whole, self.num_trials or whole)

    def combinations(self) -> list[dict[str, Any]]:
        """Every combination of the values of grids, the first key changing slowest; without grids one that is empty."""
        in_turn = {k: v.listed if self.sampler == "grid" else v.grid for k, v in self.space.items()}
        in_turn = {key: values for key, values in in_turn.items() if values}
        return [dict(zip(in_turn, values, strict=True)) for values in itertools.product(*in_turn.values())]

    def config(self, values: Mapping[str, Any], source: str = "sweep") -> Config:
        """The config of a trial: the base, the overrides, then `values` by the keys of the space.

        Raises:
            UsageError: for a key that does not exist, or values that do not fit, alone or together.
        """
        variant: dict[str, Any] = {}
        if VARIANT in values:
            if values[VARIANT] not in self.variants:
                raise UsageError(
                    f"{source}: no variant {values[VARIANT]!r}: {suggestion(values[VARIANT], self.variants)}"
                    f"there are {', '.join(self.variants) or 'none'}"
                )
            variant = self.variants[values[VARIANT]]
        presets = [str(of[PRESET]) for of in (variant, values) if of.get(PRESET)]
        base = load_config("+".join([self.base, *presets]))
        return with_values(base, {**self.overrides, **_split(variant), **_split(values)}, source)


def _split(values: Mapping[str, Any]) -> dict[str, Any]:
    """By the keys of a config: keys joined by a comma take the same value."""
    own = {joined: value for joined, value in values.items() if joined not in (PRESET, VARIANT)}
    return {key.strip(): value for joined, value in own.items() for key in joined.split(",")}
