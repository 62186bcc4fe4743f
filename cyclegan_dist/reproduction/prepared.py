"""The configuration and the command that train a run again."""

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

from cyclegan_dist.config.config import Config, dump_config
from cyclegan_dist.data.location import SYNTHETIC, is_data_set
from cyclegan_dist.errors import UsageError
from cyclegan_dist.reproduction.origin import CONFIG, Origin
from cyclegan_dist.storage.files import write_atomic

SUFFIX = "-reproduced"
PACKAGES = "packages.txt"


def data_of(origin: Origin, given: str = "") -> str:
    """The data set to train on again: the given one, or the recorded one, or the demo's, which is drawn again."""
    if given:
        return given if "://" in given else str(Path(given).absolute())
    path, own = origin.config.data.path, Path(origin.config.runs_dir) / origin.name / "data"
    return SYNTHETIC if Path(path) == own and not is_data_set(path) else path


def starts_from(origin: Origin) -> str:
    """What `init_from` of the run names, here."""
    return origin.config.init_from


def run_dir_of(origin: Origin) -> Path:
    """The folder of the run that reproduces it."""
    return origin.runs_dir.absolute() / f"{origin.name}{SUFFIX}"


def config_of(origin: Origin, data: str = "") -> Config:
    """The configuration of that run: what is learned is unchanged; it ends where the snapshot was written, uses the
    recorded number of threads and ranks, and sends nothing to MLflow and others.
    """
    config, sizes = origin.config, origin.world_sizes
    world = {"num_workers": sizes[-1] if sizes and sizes[-1] > 1 else 0}
    if threads := origin.environment.get("threads"):
        world["threads"] = threads
    held_out = config.held_out
    if held_out.data and not is_data_set(held_out.data):  # what is learned does not depend on it
        held_out = dataclasses.replace(held_out, data="", patience=0)
    return dataclasses.replace(
        config,
        name=f"{origin.name}{SUFFIX}",
        runs_dir=str(origin.runs_dir.absolute()),
        stop_after=origin.nimg,
        checkpoints="",
        data=dataclasses.replace(config.data, path=data_of(origin, data), A="", B=""),
        world=dataclasses.replace(config.world, **world),
        tracking=dataclasses.replace(config.tracking, mlflow=False, tensorboard=False, wandb="", parent=""),
        held_out=held_out,
    )


def arguments_of(origin: Origin, folder: Path) -> list[str]:
    """Arguments of the training's command: the configuration in `folder`, and the launcher."""
    sizes = origin.world_sizes
    return [str(folder / CONFIG), "--launcher", "local" if not sizes or sizes[-1] == 1 else "ray"]


def write(origin: Origin, folder: Path, report: dict[str, Any], data: str = "") -> None:
    """Write the configuration, the packages of then as pip reads them, and the report into a folder.

    Raises:
        UsageError: if it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / CONFIG, dump_config(config_of(origin, data)))
        write_atomic(folder / "report.json", json.dumps(report, indent=1) + "\n")
        if packages := origin.environment.get("packages"):
            lines = (f"{name}=={version}\n" for name, version in packages.items() if name != "cyclegan-dist")
            write_atomic(folder / PACKAGES, "".join(lines))
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}; choose another --out") from error


def quoted(words: list[str]) -> str:
    """A command's words as a shell reads them."""
    return shlex.join(words)
