"""Opening a run: all checks that can be made before any rank starts and anything is written."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute

from cyclegan_dist.checkpoint.storage import storage_at
from cyclegan_dist.config.config import Config, check_config, dump_config, home, refuse_changes
from cyclegan_dist.config.features import refuse_missing_extra, refuse_other_features
from cyclegan_dist.config.yaml_tree import read_tree
from cyclegan_dist.data.arrays import PICTURES
from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.data.manifest import MANIFEST, Manifest, open_manifest
from cyclegan_dist.errors import UsageError, pipeline_command
from cyclegan_dist.methods.available import AnyMethodConfig
from cyclegan_dist.storage.files import lock, write_atomic
from cyclegan_dist.storage.layout import RunFolder


def open_run(config: Config) -> Config:
    """Check a run, and create or reuse its folder. Call it in one process, the launcher's.

    Returns:
        The config with absolute paths, as written to `config.yaml` in the run folder.

    Raises:
        UsageError: if the data set is missing, the folder cannot be written, or belongs to a run of another config.
    """
    config = dataclasses.replace(config, runs_dir=str(home() / config.runs_dir))
    run_dir, folder = config.run_dir, RunFolder(config.run_dir)
    if folder.config.exists():
        kept = read_config(run_dir)
        if config.optim.precision == "auto":
            config = dataclasses.replace(
                config, optim=dataclasses.replace(config.optim, precision=kept.optim.precision)
            )
        refuse_changes(kept, config)
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
        # Not in the config's own checks: older runs with such a config can still be read.
        refuse_other_features(held_out.best, held_out.features, "held_out.best")
        refuse_missing_extra(held_out.features)
        config = dataclasses.replace(config, held_out=held_out)
    if config.checkpoints:
        _refuse_checkpoints(config)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        if config.data.path == str(run_dir / "data"):
            draw_synthetic(run_dir / "data", size=config.data.load_size, seed=config.seed)
        write_atomic(folder.config, dump_config(config))
        for path in (folder.stop, folder.failed):  # of an earlier attempt
            path.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {run_dir}: {error.strerror}; choose another --runs_dir") from error
    return config


def _refuse_checkpoints(config: Config) -> None:
    """Check the storage of checkpoints before training, not when the first one is due."""
    try:
        storage_at(config.checkpoint_path).ready()
    except OSError as error:
        reason = " ".join((error.strerror or str(error)).split())
        raise UsageError(
            f"checkpoints cannot be kept at {config.checkpoint_path}: {reason}; choose another --checkpoints"
        ) from error


@contextlib.contextmanager
def locked(config: Config) -> Iterator[None]:
    """Hold the run's lock, until the block ends or the process dies.

    Raises:
        UsageError: if another launcher holds it, or it cannot be taken in this folder.
    """
    path = RunFolder(config.run_dir).lock
    held = f"run {config.name} is in training already: wait, or give another --name"
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(lock(path, held=held))
        except OSError as error:
            raise UsageError(f"cannot write {path.parent}: {error.strerror}; choose another --runs_dir") from error
        yield


def read_config(run_dir: Path) -> Config:
    """The config of the run in `run_dir`.

    Raises:
        UsageError: if `run_dir` is not a run folder.
    """
    path = RunFolder(run_dir).config
    try:
        return check_config(read_tree(path.read_text(), str(path)), str(path))
    except OSError as error:
        raise UsageError(f"{run_dir} is not the folder of a run: {path.name} cannot be read") from error


def draw_synthetic(out: Path, *, size: int, seed: int, count: int = 400) -> None:
    """Draw the demo's two domains as a data set at `out`, unless it exists."""
    if (out / MANIFEST).exists():
        return
    from cyclegan_dist.data.shards import write_dataset  # these load torch, for which a launcher need not wait
    from cyclegan_dist.data.synthetic import draw_domain

    write_dataset({d: draw_domain(d, count, seed=seed, size=size) for d in "AB"}, out, samples_per_shard=200)


def _refuse_small_images(manifest: Manifest, data: DataConfig) -> None:
    """`crop` does not resize: each image must be at least as large as the crop."""
    if data.preprocess == "crop":
        smallest = min(pa.compute.min(manifest.table[side]).as_py() for side in ("width", "height"))  # pyright: ignore
        if smallest < data.crop_size:
            raise UsageError(
                f"data.preprocess crop: an image side of {smallest} pixels is smaller than crop_size {data.crop_size}; "
                "lower it, or choose resize_and_crop"
            )


def _refuse_channels(manifest: Manifest, method: AnyMethodConfig) -> None:
    """Grey and colour images are converted to each other; others must have the generators' number of channels."""
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
    """Both images of a pair get the same crop, so they must have the same size before it."""
    partners = manifest.partners()
    if data.preprocess == "resize_and_crop":  # which makes all images the same size
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
