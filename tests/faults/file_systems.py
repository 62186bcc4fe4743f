"""Drill B13: file systems without locks or flushing, and drill B14: refused commands on a finished run."""

import errno
import fcntl
import hashlib
import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cyclegan_dist.config.config import Config, with_values
from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.files import lock
from cyclegan_dist.training.run_folder import open_run
from tests.conftest import make_dataset
from tests.faults.matrix import Measured, Stage, row
from tests.training.trainings import go, records

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
NO_FLUSH = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


@row(
    "B13",
    "a file system has no locks, or cannot flush folders",
    "without locks refused in one line; without flushing, checkpoints are written and pruned without a warning",
)
def incomplete_file_systems(stage: Stage) -> Measured:
    refused = 0
    for number in NO_LOCKS:
        with patch.object(fcntl, "flock", side_effect=OSError(number, os.strerror(number))):
            for wait in (False, True):
                try:
                    with lock(stage.folder / "lock", held="held", wait=wait):
                        pass
                except UsageError as error:
                    refused += "\n" not in str(error) and "file locks" in str(error)
    warnings, kept = 0, []
    flush = os.fsync
    for number in NO_FLUSH:

        def fail(descriptor: int, number: int = number) -> None:
            if Path(f"/proc/self/fd/{descriptor}").is_dir():
                raise OSError(number, os.strerror(number))
            flush(descriptor)

        config = stage.run(name=f"flush-{number}", every__checkpoint=2, keep_checkpoints=3)
        with patch.object(os, "fsync", fail):
            assert go(config) == "FINISHED"
        warnings += sum("not written" in r.get("text", "") for r in records(config))
        kept.append(len(list((config.run_dir / "checkpoints").glob("step-*"))))
    tries = 2 * len(NO_LOCKS)
    figure = (
        f"without locks refused in one line {refused} of {tries}; folders that cannot be flushed: warnings {warnings}, "
        f"checkpoints kept {kept} of 20 written each, with keep_checkpoints 3"
    )
    return Measured(figure, refused == tries and not warnings and kept == [3] * len(NO_FLUSH))


@row(
    "B14",
    "a finished run is started again with a config that does not fit it",
    "refused; not a byte of the run changes",
)
def refused_on_a_finished_run(stage: Stage) -> Measured:
    config = stage.run(stop_after=8)
    go(config)
    other = make_dataset_with_one_more(stage.folder / "other")
    cases: list[dict[str, Any]] = [
        {"data.path": str(other)},
        {"data.path": str(stage.folder / "nowhere")},
        {"seed": 1},
        {"method.lambda_cycle_A": 5.0},
        {"data.crop_size": 20},
        {"data.preprocess": "crop", "data.crop_size": 64},
        {"method.input_nc": 4},
        {"held_out.data": str(stage.folder / "nowhere")},
        {"checkpoints": "/proc/checkpoints"},
    ]
    before, refused, changed = contents(config), 0, 0
    for case in cases:
        try:
            open_run(with_values(config, case, "test"))
        except UsageError:
            refused += 1
        changed += contents(config) != before
    figure = f"refused {refused} of {len(cases)}, changed something {changed}"
    return Measured(figure, refused == len(cases) and not changed)


def make_dataset_with_one_more(folder: Path) -> Path:
    """A data set that differs from the drill's in its images."""
    from cyclegan_dist.data.prepare import prepare
    from cyclegan_dist.data.prepare_config import PrepareConfig
    from tests.conftest import write_images

    made = make_dataset(folder)
    a = write_images(folder / "more", 8, seed=3)
    prepare(PrepareConfig(a, folder / "B", folder / "out2", samples_per_shard=4, workers=1))
    return made.parent / "out2"


def contents(config: Config) -> dict[str, str]:
    """The hash and time of each file of a run."""
    files = (path for path in sorted(config.run_dir.rglob("*")) if path.is_file())
    return {str(path): f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mtime_ns}" for path in files}
