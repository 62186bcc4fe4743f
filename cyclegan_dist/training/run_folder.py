"""Opening a run: everything that can be refused is refused here, before any rank starts and before anything is
written.
"""

import contextlib
import dataclasses
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute

from cyclegan_dist.checkpoint.storage import storage_at
from cyclegan_dist.config.config import Config, check_config, dump_config, home, refuse_changes
from cyclegan_dist.config.yaml_tree import read_tree
from cyclegan_dist.data.arrays import PICTURES
from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.data.manifest import MANIFEST, Manifest, open_manifest
from cyclegan_dist.errors import UsageError, pipeline_command
from cyclegan_dist.methods.available import AnyMethodConfig
from cyclegan_dist.training.stop import FILE as STOP_FILE

CONFIG_NAME = "config.yaml"
FAILURE_NAME = "FAILED"
BEST = "best.json"  # names the snapshot whose evaluation is best


def open_run(config: Config) -> Config:
    """Check a run and make its folder. Call it in one process, the launcher's.

    Returns:
        The config with absolute paths. It is in `config.yaml` of the run's folder now.

    Raises:
        UsageError: if the data set is missing, the folder cannot be written, or belongs to a run of another config.
    """
    config = dataclasses.replace(config, runs_dir=str(home() / config.runs_dir))
    run_dir = config.run_dir
    saved = run_dir / CONFIG_NAME
    if saved.exists():
        refuse_changes(read_config(run_dir), config)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, path=_data_path(config)))
    if config.data.path != str(run_dir / "data"):
        manifest = open_manifest(config.data.path, ("name", "width", "height", "mode"))
        _refuse_small_images(manifest, config.data)
        _refuse_channels(manifest, config.method)
        if config.method.pairing == "all":
            _refuse_pairs(manifest, config.data)
    if config.held_out.data:
        held_out = dataclasses.replace(config.held_out, data=_absolute(config.held_out.data))
        open_manifest(held_out.data, ())
        config = dataclasses.replace(config, held_out=held_out)
    if config.checkpoints:
        _refuse_checkpoints(config)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        if config.data.path == str(run_dir / "data"):
            draw_synthetic(run_dir / "data", size=config.data.load_size, seed=config.seed)
        temporary = run_dir / f".{CONFIG_NAME}"
        temporary.write_text(dump_config(config))
        os.replace(temporary, saved)
        for name in (STOP_FILE, FAILURE_NAME):  # of an earlier attempt
            (run_dir / name).unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {run_dir}: {error.strerror}; choose another --runs_dir") from error
    return config


def _refuse_checkpoints(config: Config) -> None:
    """Find out now, not when the first checkpoint is due, that they have no place."""
    try:
        storage_at(config.checkpoint_path).ready()
    except OSError as error:
        reason = " ".join((error.strerror or str(error)).split())
        raise UsageError(
            f"checkpoints cannot be kept at {config.checkpoint_path}: {reason}; choose another --checkpoints"
        ) from error


@contextlib.contextmanager
def locked(config: Config) -> Iterator[None]:
    """Hold the run for this launcher, until the block ends or the process dies.

    Raises:
        UsageError: if another launcher holds it.
    """
    path = home() / config.runs_dir / f".{config.name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
    except OSError as error:
        raise UsageError(f"cannot write {path.parent}: {error.strerror}; choose another --runs_dir") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"run {config.name} is in training already: wait, or give another --name") from None
        yield


def read_config(run_dir: Path) -> Config:
    """The config a run was started with.

    Raises:
        UsageError: if `run_dir` is no run's folder.
    """
    try:
        return check_config(
            read_tree((run_dir / CONFIG_NAME).read_text(), str(run_dir / CONFIG_NAME)), str(run_dir / CONFIG_NAME)
        )
    except OSError as error:
        raise UsageError(f"{run_dir} is not the folder of a run: {CONFIG_NAME} cannot be read") from error


def draw_synthetic(out: Path, *, size: int, seed: int, count: int = 400) -> None:
    """Draw the demo's two domains as a data set at `out`, unless it is there."""
    if (out / MANIFEST).exists():
        return
    # Imported here so that a run on real data never needs webdataset, which only writes.
    from cyclegan_dist.data.shards import write_dataset
    from cyclegan_dist.data.synthetic import draw_domain

    write_dataset({d: draw_domain(d, count, seed=seed, size=size) for d in "AB"}, out, samples_per_shard=200)


def _refuse_small_images(manifest: Manifest, data: DataConfig) -> None:
    """`crop` takes images as they are: each must hold the crop."""
    if data.preprocess == "crop":
        smallest = min(pa.compute.min(manifest.table[side]).as_py() for side in ("width", "height"))  # pyright: ignore
        if smallest < data.crop_size:
            raise UsageError(
                f"data.preprocess crop: an image side of {smallest} pixels is smaller than crop_size {data.crop_size}; "
                "lower it, or choose resize_and_crop"
            )


def _refuse_channels(manifest: Manifest, method: AnyMethodConfig) -> None:
    """Grey and colour stand for each other; of any other images the generators must have as many channels."""
    for domain, key in (("A", "input_nc"), ("B", "output_nc")):
        wanted = method.channels[domain]
        for mode in pa.compute.unique(manifest.domains[domain]["mode"]).to_pylist():  # pyright: ignore
            fits = mode == f"C{wanted}" if mode.startswith("C") else wanted in PICTURES
            if not fits:
                raise UsageError(
                    f"domain {domain} has images of mode {mode}: set method.{key} to their number of channels, "
                    f"not {wanted}"
                )


def _refuse_pairs(manifest: Manifest, data: DataConfig) -> None:
    """Partners are cut alike, so that they must have one size when they are cut."""
    partners = manifest.partners()
    if data.preprocess == "resize_and_crop":  # which gives all images one size
        return
    sides = {d: np.array([rows["width"], rows["height"]]).T for d, rows in manifest.domains.items()}
    unequal = (sides["A"] != sides["B"][partners]).any(axis=1)
    if unequal.any():
        index = int(unequal.argmax())
        name, (width, height) = manifest.domains["A"]["name"][index].as_py(), sides["A"][index]
        partner = "x".join(map(str, sides["B"][partners[index]]))
        raise UsageError(
            f"{name} of domain A has {width}x{height} pixels and its partner {partner}: give both one size, or choose "
            "data.preprocess resize_and_crop"
        )


def _data_path(config: Config) -> str:
    path = config.data.path
    if not path:
        raise UsageError(
            f"no data set given: pass --data.path FOLDER, made with {pipeline_command('prepare')} A_DIR B_DIR FOLDER"
        )
    if path == "synthetic":
        return str(config.run_dir / "data")
    return _absolute(path)


def _absolute(path: str) -> str:
    return path if "://" in path or path.startswith("pipe:") else str(Path(path).absolute())
