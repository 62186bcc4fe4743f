"""Opening a run: all checks that can be made before any rank starts and anything is written."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cyclegan_dist.checkpoint.storage import storage_at
from cyclegan_dist.config.begun import as_begun, read_begun
from cyclegan_dist.config.changes import refuse_changes
from cyclegan_dist.config.config import Config, dump_config, home, with_values
from cyclegan_dist.config.features import not_trained_with, refuse_other_features
from cyclegan_dist.config.held_out import AUTO, held_out_data
from cyclegan_dist.config.yaml_tree import read_tree
from cyclegan_dist.data.domain_names import Names, refuse_exchanged
from cyclegan_dist.data.manifest import MANIFEST, Manifest, open_manifest
from cyclegan_dist.data.values import ValueRange, refuse_other_values
from cyclegan_dist.errors import UsageError, pipeline_command
from cyclegan_dist.networks.pretrained import refuse_missing_weights
from cyclegan_dist.registry.sources import REGISTRY
from cyclegan_dist.storage.files import lock, write_atomic
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import read_records
from cyclegan_dist.training.data_checks import refuse_channels, refuse_max_pairs, refuse_pairs, refuse_small_images
from cyclegan_dist.training.prepared_data import with_prepared_data
from cyclegan_dist.training.segments import new_segment, read_segments, write_segments
from cyclegan_dist.training.teacher import refuse_other_domains, with_teacher
from cyclegan_dist.training.write_limit import limited_writes

if TYPE_CHECKING:
    from cyclegan_dist.models.training_state import TrainingState


def open_run(config: Config, extend: int = 0) -> Config:
    """Check a run, and create or reuse its folder. Call it in one process, the launcher's.

    Args:
        config: of the run.
        extend: the number of the extension to train, or 0.

    Returns:
        The config with absolute paths, as written to `config.yaml` in the run folder.

    Raises:
        UsageError: as `check_run` and `start_run`.
    """
    config = check_run(config, extend)
    start_run(config, extend)
    return config


def check_run(config: Config, extend: int = 0) -> Config:
    """Check a run, without changing anything in its folder. Arguments as for `open_run`.

    Returns:
        The config with absolute paths.

    Raises:
        UsageError: if the data set is missing, does not fit, or is not the one of the run's checkpoints; if the folder
            belongs to a run of another config, or one that cannot be extended; or if `init_from` does not fit.
    """
    config = dataclasses.replace(config, runs_dir=str(home() / config.runs_dir))
    if config.init_from and not config.init_from.startswith(REGISTRY):
        config = dataclasses.replace(config, init_from=_absolute(config.init_from))
    run_dir, folder = config.run_dir, RunFolder(config.run_dir)
    if extend < 0:
        raise UsageError(f"--extend {extend}: give 1 for the run's first extension, 2 for the next")
    if config.method.taught_by:
        config = with_teacher(config, _kept_config(run_dir) if folder.config.exists() else None)
    if folder.config.exists():
        kept, segments = _kept_config(run_dir), read_segments(run_dir)
        config = as_begun(config, kept)
        if config.held_out.data == AUTO and not kept.held_out.data:  # a run without evaluations stays one
            config = dataclasses.replace(config, held_out=dataclasses.replace(config.held_out, data=""))
        if config.optim.precision == "auto":
            config = dataclasses.replace(
                config, optim=dataclasses.replace(config.optim, precision=kept.optim.precision)
            )
        if extend <= len(segments):
            number = len(segments) + 1
            refuse_changes(kept, config, f", or, when the run has finished, train it further with --extend {number}")
    elif extend:
        raise UsageError(f"there is no run {config.name} in {config.runs_dir} to extend: give its --name")
    refuse_max_pairs(config)
    config = with_prepared_data(config, _kept_config(run_dir) if folder.config.exists() else None)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, path=_data_path(config)))
    values: dict[str, ValueRange | None] = dict.fromkeys("AB")
    names: Names = {}
    if config.data.path != str(run_dir / "data"):
        manifest = open_manifest(config.data.path, ("name", "width", "height", "mode", "sha256"))
        manifest = manifest.selected(config.data.direction, config.data.max_samples)
        values, names = manifest.values, manifest.domain_names
        refuse_small_images(manifest, config)
        refuse_channels(manifest, config.method)
        if config.method.pairing != "none":
            refuse_pairs(manifest, config.data, config.method.pairing)
        _refuse_other_data(manifest, config)
        if config.method.taught_by:
            refuse_other_domains(config, manifest)
    data = held_out_data(
        config.held_out, "synthetic" if config.data.path == str(run_dir / "data") else config.data.path
    )
    config = dataclasses.replace(config, held_out=dataclasses.replace(config.held_out, data=data))
    if config.held_out.patience and not (data and config.every.snapshot):
        raise UsageError(
            "held_out.patience ends a training by evaluations of its snapshots: set held_out.data to a data set (or "
            f"prepare one with {pipeline_command('prepare')} --validation), and every.snapshot"
        )
    if data:
        held_out = dataclasses.replace(config.held_out, data=_absolute(data))
        other = open_manifest(held_out.data, ()).selected(config.data.direction)
        refuse_exchanged(held_out.data, other.domain_names, config.data.path, names)
        refuse_other_values(held_out.data, other.values, config.data.path, values)
        # Not in the config's own checks: older runs with such a config can still be read.
        helpers = (*config.method.trained_with, *config.method.taught_by.get("trained_with", ()))
        kept = not_trained_with(held_out.features, helpers, f"run {config.name}")  # first: its figure would not do
        refuse_other_features(held_out.best, held_out.features, "held_out.best")
        refuse_other_features(held_out.best, kept, f"run {config.name} was trained with others: held_out.best")
        for features in kept:
            refuse_missing_weights(features)
        config = dataclasses.replace(config, held_out=held_out)
    for features in config.method.trained_with:
        refuse_missing_weights(features)
    if config.checkpoints:
        _refuse_checkpoints(config)
    if extend > len(read_segments(run_dir)):
        new_segment(extend, _kept_config(run_dir), config, read_segments(run_dir))
    if config.freeze:
        from cyclegan_dist.step.freeze import freeze  # these load torch
        from cyclegan_dist.training.start_from import names_and_shapes

        freeze(names_and_shapes(config), config.freeze)
    _start_weights(config)
    return config


def start_run(config: Config, extend: int = 0) -> None:
    """Write a checked run's config, and remove what an earlier attempt left. Call it when nothing is left that could
    refuse to train. Arguments as for `open_run`. Ends the process if its writes take longer than world.save_timeout_s.

    Raises:
        UsageError: if the folder cannot be written.
    """
    run_dir, folder = config.run_dir, RunFolder(config.run_dir)
    segments, start = read_segments(run_dir), _start_weights(config)
    if extend > len(segments):
        segments = (*segments, new_segment(extend, _kept_config(run_dir), config, segments))
    try:
        with limited_writes(run_dir, config.world.save_timeout_s):
            run_dir.mkdir(parents=True, exist_ok=True)
            if start is not None:
                start.save(folder.start)
            if segments:  # before the config, which `_kept_config` then completes
                write_segments(run_dir, segments)
            if config.data.path == str(run_dir / "data"):
                draw_synthetic(run_dir / "data", size=config.data.load_size, seed=config.seed)
            write_atomic(folder.config, dump_config(config))
            for path in (folder.stop, folder.save, folder.failed):  # of an earlier attempt
                path.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {run_dir}: {error.strerror}; choose another --runs_dir") from error


def _kept_config(run_dir: Path) -> Config:
    """The config of the run in `run_dir`, also if its last extension was killed before it was written."""
    config, segments = read_config(run_dir), read_segments(run_dir)
    if not segments:
        return config
    changed = {key: after for key, (_, after) in segments[-1].changed.items()}
    return with_values(config, changed, str(RunFolder(run_dir).segments))


def _start_weights(config: Config) -> "TrainingState | None":
    """What `init_from` names, if the run is new: the source of a run that has begun may be gone."""
    if not config.init_from or RunFolder(config.run_dir).start.exists():
        return None
    try:
        if storage_at(config.checkpoint_path).steps():
            return None
    except OSError:  # a storage that does not answer, which is found when it is needed
        pass
    from cyclegan_dist.training.start_from import read_start  # loads torch

    return read_start(config)


def _refuse_other_data(manifest: Manifest, config: Config) -> None:
    """The data set must be the one that the recorded steps, or the checkpoints, were trained on, as the journal names
    it.
    """
    journal = RunFolder(config.run_dir).journal
    try:
        found = [record for record, _ in read_records(journal, 0) if record["kind"] in ("run", "metrics")]
        records = [record for record in found if record["kind"] == "run"]
        if not records or (len(records) == len(found) and not storage_at(config.checkpoint_path).steps()):
            return
    except OSError:  # no journal, or a storage that does not answer, which is found when it is needed
        return
    digests = {data["name"]: data["digest"] for data in records[-1].get("data", [])}
    same = records[-1].get("manifest", manifest.digest) == manifest.digest  # older versions did not record it
    other = any(manifest.domain_digest(domain) != digest for domain, digest in digests.items())
    if other or not same:
        advice = (
            "give its --data.path, or another --name"
            if other or not digests
            else "it has the same images, prepared with other options, as --names: prepare it with those of then"
        )
        raise UsageError(f"{manifest.root} is not the data set that run {config.name} has been trained on: {advice}")


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
        return read_begun(read_tree(path.read_bytes(), str(path)), str(path))
    except OSError as error:
        raise UsageError(f"{run_dir} is not the folder of a run: {path.name} cannot be read") from error


def draw_synthetic(out: Path, *, size: int, seed: int, count: int = 400) -> None:
    """Draw the demo's two domains as a data set at `out`, unless it exists."""
    if (out / MANIFEST).exists():
        return
    from cyclegan_dist.data.shards import write_dataset  # these load torch, for which a launcher need not wait
    from cyclegan_dist.data.synthetic import draw_domain

    write_dataset({d: draw_domain(d, count, seed=seed, size=size) for d in "AB"}, out, samples_per_shard=200)


def _data_path(config: Config) -> str:
    path = config.data.path
    if not path:
        raise UsageError(
            f"no data set given: pass --data.path FOLDER, made with {pipeline_command('prepare')} A_DIR B_DIR FOLDER, "
            "or two folders of images: --data.A A_DIR --data.B B_DIR"
        )
    if path == "synthetic":
        return str(config.run_dir / "data")
    return _absolute(path)


def _absolute(path: str) -> str:
    return path if "://" in path or path.startswith("pipe:") else str(Path(path).absolute())
