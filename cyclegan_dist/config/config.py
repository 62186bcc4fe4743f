"""The configuration tree: defaults, then a preset or YAML file, then the command line.

Each part is a frozen dataclass, defined in the package that uses it; this module assembles them, reads YAML and reports
errors in it.
"""

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

from cyclegan_dist.alerts.config import AlertsConfig
from cyclegan_dist.config.held_out import HeldOutConfig
from cyclegan_dist.config.older import up_to_date, without_overridden
from cyclegan_dist.config.shipped import read_shipped, shipped
from cyclegan_dist.config.yaml_tree import check_tree, flatten, read_tree, refuse_unknown
from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.errors import UsageError, refuse_password, suggestion
from cyclegan_dist.methods.available import DEFAULT, METHODS, AnyMethodConfig
from cyclegan_dist.networks.bounds import Ge, Gt, Le
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.schedule import ScheduleConfig
from cyclegan_dist.step.world_config import WorldConfig
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.config import TrackingConfig

MOST_SEED = 2**63 - 1  # of torch
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"  # names a folder, an MLflow run and a part of URLs


@dataclass(frozen=True, kw_only=True)
class EveryConfig:
    """Intervals in images per domain, counted over all ranks. 0: never."""

    log: Annotated[int, Ge(0)] = 100
    """Losses, learning rate and speed to metrics.jsonl, the terminal and MLflow."""
    samples: Annotated[int, Ge(0)] = 2000
    """A grid of translations of the same few training images."""
    checkpoint: Annotated[int, Ge(0)] = 2000
    """Everything needed to resume; also at the end and when the run is stopped."""
    compare: Annotated[int, Ge(0)] = 2000
    """A check that all ranks' weights are bitwise identical."""
    snapshot: Annotated[int, Ge(0)] = 10000
    """A snapshot of the generators, for inference; also at the end."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """A training run."""

    name: str = "run"
    """The run's name: its folder under runs_dir, and its name in MLflow. The name of an existing run resumes it."""
    runs_dir: str = "runs"
    """Folder of run folders. A relative path starts at CYCLEGAN_DIST_HOME if that is set."""
    seed: Annotated[int, Ge(0), Le(MOST_SEED)] = 0
    """Seed of weights, data order, augmentation and history buffers."""
    stop_after: Annotated[int, Ge(0)] = 0
    """Stop after so many images, with the schedule unchanged; run again with a larger value to resume. 0: at the end of
    the schedule."""
    keep_checkpoints: Annotated[int, Gt(0)] = 3
    """Number of newest checkpoints to keep."""
    keep_best: Annotated[int, Ge(0)] = 0
    """Number of further checkpoints to keep: those with the lowest best_loss when they were saved."""
    best_loss: str = "G"
    """Loss that keep_best compares: one of those that the method reports."""
    checkpoints: str = ""
    """Folder or fsspec URL for checkpoints, in a subfolder with the run's name. Empty: the run's folder."""
    init_from: str = ""
    """Weights to start from: a run's folder, a snapshot's, `models:/NAME@ALIAS`, or a published `.pth` file or a folder
    of them. Read once, when the run is created. Empty: weights are drawn."""
    init_parts: Literal["auto", "generators", "networks", "all"] = "auto"
    """Parts of it that are taken. `networks`: generators and discriminators. `all`: also the moments of Adam, and the
    averaged generators if both have them. `auto`: generators, and discriminators if there are any."""
    freeze: tuple[str, ...] = ()
    """Weights that are not trained: patterns of names such as `G_AB.model.1.*` or `D_*`."""
    method: AnyMethodConfig = field(default_factory=METHODS[DEFAULT])
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    every: EveryConfig = field(default_factory=EveryConfig)
    world: WorldConfig = field(default_factory=WorldConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    held_out: HeldOutConfig = field(default_factory=HeldOutConfig)
    alerts: AlertsConfig = field(default_factory=AlertsConfig)

    def __post_init__(self) -> None:
        refuse_password(self.checkpoints, "checkpoints")
        if "://" in self.runs_dir:
            raise UsageError(f"runs_dir {self.runs_dir} must be a folder: mount the storage on every node")
        if not re.fullmatch(NAME_PATTERN, self.name):
            raise UsageError(
                f"name {self.name!r}: give letters, digits, dots, dashes and underscores, a letter or digit first, "
                "128 at most"
            )
        if "://" in self.init_from:
            raise UsageError(
                f"init_from {self.init_from} must be a local path, or a registered model models:/NAME@ALIAS"
            )
        if not self.schedule.total_epochs:
            raise UsageError("schedule.n_epochs and schedule.n_epochs_decay are both 0: there is nothing to train")
        if self.keep_best and self.best_loss not in self.method.losses:
            raise UsageError(
                f"best_loss {self.best_loss}: method {self.method.name} reports {', '.join(self.method.losses)}; "
                "name one of them"
            )
        if self.optim.activation_checkpointing:
            self._refuse_recomputing()
        if self.method.double_backward and "crop" not in self.data.preprocess:
            raise UsageError("the gradient penalty needs images of one size: give a data.preprocess that crops")
        if "crop" in self.data.preprocess:
            self._refuse_crop()

    def _refuse_recomputing(self) -> None:
        generator, option = self.method.generator, "optim.activation_checkpointing computes residual blocks"
        if generator.arch == "unet":
            raise UsageError(f"{option}, which method.generator.arch unet has not: leave it out")
        if getattr(generator, "norm", "") == "batch":
            raise UsageError(f"{option} twice, which batch norm would count: give method.generator.norm instance")
        if getattr(generator, "dropout", False) and self.optim.fast != "off":
            raise UsageError(f"{option} twice, with the same dropout only if optim.fast is off: give optim.fast off")

    def _refuse_crop(self) -> None:
        size, multiple = self.data.crop_size, self.method.multiple
        if size % multiple:
            smaller = ", or a smaller method.generator.n_downs" if self.method.generator.arch == "unet" else ""
            raise UsageError(
                f"crop_size {size} must be a multiple of {multiple} for this generator: "
                f"give {max(1, round(size / multiple)) * multiple}{smaller}"
            )
        smallest = self.method.smallest_side
        if size < smallest:
            raise UsageError(
                f"crop_size {size} is too small for the discriminator: give at least {smallest}, "
                "or a smaller method.discriminator.n_layers_D"
            )

    def micro_batches(self, world_size: int, largest: int = 0) -> tuple[int, int]:
        """As `OptimConfig.micro_batches`; a batch that batch norm needs whole is not shared (UsageError)."""
        images, times = self.optim.micro_batches(world_size, largest)
        if self.method.batch_norm and (world_size, times) != (1, 1):
            raise UsageError(
                f"norm batch computes a step's whole batch at once, not on {world_size} ranks in {times} parts: give "
                "--world.num_workers 1 and --optim.micro_batch 0, or norm instance"
            )
        return images, times

    def largest_world(self, room: int) -> int:
        """The largest number of ranks, at most `room`, that can share the batch."""
        return 1 if self.method.batch_norm else self.optim.largest_world(room)

    @property
    def run_dir(self) -> Path:
        """The run's folder, absolute."""
        return home() / self.runs_dir / self.name

    @property
    def checkpoint_path(self) -> str:
        """The folder or URL of the run's checkpoints."""
        if not self.checkpoints:
            return str(RunFolder(self.run_dir).checkpoints)
        return f"{self.checkpoints if '://' in self.checkpoints else home() / self.checkpoints}/{self.name}"


def home() -> Path:
    """The base of relative run folders and of the default MLflow store: CYCLEGAN_DIST_HOME, or the current folder.

    Ray deletes the current folder of a job that `ray job submit` started, so there it is ~/cyclegan_dist.
    """
    if "CYCLEGAN_DIST_HOME" in os.environ:
        return Path(os.environ["CYCLEGAN_DIST_HOME"]).expanduser().absolute()
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        return Path.home() / "cyclegan_dist"
    return Path.cwd()


def load_config(name: str) -> Config:
    """The tree of a shipped preset, of a YAML file, or of several joined by `+`, where later ones win.

    The run of a joined config is named after all parts, unless the last is a file that sets the name.

    Raises:
        UsageError: if there is none with that name, or it is invalid.
    """
    parts = name.split("+")
    trees = [read_tree(*read_shipped(part, "preset")) for part in parts]
    tree: dict[str, Any] = {}
    for above in trees:
        tree = _without_path(_merged(without_overridden(tree, above), above), flatten(above))
    if len(parts) > 1 and (parts[-1] in shipped("preset") or "name" not in trees[-1]):
        tree["name"] = "-".join(Path(part).stem for part in parts)
    return check_config(tree, name)


def _without_path(tree: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The tree without `data.path` if two folders of images are `given`, by dotted key, and no path: what is set later
    wins, and presets have a path.
    """
    if not given.get("data.A") or "data.path" in given:
        return tree
    return {**tree, "data": {**tree["data"], "path": ""}}


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(below[key], above[key])
        for key in below
        if isinstance(below[key], dict) and isinstance(above.get(key), dict)
    }
    return {**below, **above, **both}


def for_method(name: str) -> type[Config]:
    """`Config` with the options of one method only, as `TypeAdapter` and the command line need it.

    Raises:
        UsageError: if there is no such method.
    """
    if name not in METHODS:
        raise UsageError(f"no method {name!r}: {suggestion(name, METHODS)}there are {', '.join(METHODS)}")
    return _narrowed(METHODS[name])


@lru_cache
def _narrowed(method: type[AnyMethodConfig]) -> type[Config]:
    fields = [("method", method, field(default_factory=method))]
    return dataclasses.make_dataclass("Config", fields, bases=(Config,), frozen=True, kw_only=True)


def check_config(tree: dict[str, Any], source: str) -> Config:
    """Validate nested dictionaries against the tree.

    Raises:
        UsageError: naming an unknown key with the nearest known one, or the first value that does not fit.
    """
    options = tree.get("method") or {}
    if not isinstance(options, dict):
        raise UsageError(f"{source}: method: give its options, with name: {' or '.join(METHODS)}")
    kind = for_method(str(options.get("name", DEFAULT)))
    defaults = dataclasses.asdict(kind())
    tree = up_to_date(tree, source)
    refuse_options_of_others(flatten(tree), str(defaults["method"]["name"]), f"{source}: unknown key ")
    refuse_unknown(flatten(tree), flatten(defaults), source)
    # Merged here, not field by field: a method may have other defaults for a network than the network's own class.
    tree = _merged(defaults, {key: value for key, value in tree.items() if value is not None})
    del tree["method"]["name"]  # the class of the method stands for it
    checked = check_tree(tree, kind, source)
    return Config(**{part.name: getattr(checked, part.name) for part in dataclasses.fields(Config)})


def refuse_options_of_others(keys: Iterable[str], method: str, before: str) -> None:
    """Refuse keys `method.OPTION` that other methods have and `method` has not.

    Args:
        keys: dotted keys.
        method: name of the method.
        before: stands before the key in the error.

    Raises:
        UsageError: naming the first, and the methods that have it.
    """
    options = {name: {f"method.{key}" for key in flatten(dataclasses.asdict(kind()))} for name, kind in METHODS.items()}
    for key in keys:
        others = [name for name, known in options.items() if key in known]
        if others and method not in others:
            raise UsageError(f"{before}{key}: method {method} does not have it; methods that do: {', '.join(others)}")


def with_values(config: Config, values: Mapping[str, Any], source: str) -> Config:
    """The config with other values, by dotted key. `data.A` takes the place of `data.path`.

    Raises:
        UsageError: as `check_config`.
    """
    tree = dataclasses.asdict(config)
    for key, value in values.items():
        for parent in reversed(key.split(".")):
            value = {parent: value}
        tree = _merged(tree, value)
    return check_config(_without_path(tree, values), source)


def dump_config(config: Config) -> str:
    """The whole tree as YAML, itself a valid preset."""
    return yaml.safe_dump(dataclasses.asdict(config), sort_keys=False)
