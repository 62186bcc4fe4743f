"""Segments of a run: the first, and one for each time that the finished run was extended with another schedule.

They are kept in `segments.json` of the run folder, written by the launcher, and in each checkpoint. Both hold the
extensions only: a run that was never extended has none.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclegan_dist.checkpoint.storage import storage_at
from cyclegan_dist.config.changes import Changes, changes, describe, refuse_extension
from cyclegan_dist.config.config import Config
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.checked import read_checked, write_checked
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import read_records, recorded_identity


@dataclass(frozen=True)
class Segment:
    """An extension.

    Attributes:
        nimg: images per domain that the run had seen when it began; its schedule counts from here.
        changed: by dotted key of the config, the value before and after.
    """

    nimg: int
    changed: Changes

    def __str__(self) -> str:
        return f"from {self.nimg} images on: {describe(self.changed) or 'the same config'}"


def read_segments(run_dir: Path) -> tuple[Segment, ...]:
    """The extensions of the run in `run_dir`, oldest first.

    Raises:
        UsageError: if the file is damaged.
    """
    path = RunFolder(run_dir).segments
    try:
        return parse_segments(read_checked(path)["segments"])
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{path} is damaged ({error}): delete it, the checkpoints hold the same") from error


def parse_segments(plain: Sequence[dict[str, Any]]) -> tuple[Segment, ...]:
    """Segments from the plain values of `plain_segments`."""
    return tuple(
        Segment(int(one["nimg"]), {key: (before, after) for key, (before, after) in one["changed"].items()})
        for one in plain
    )


def plain_segments(segments: Sequence[Segment]) -> list[dict[str, Any]]:
    """Segments as JSON values."""
    return json.loads(json.dumps([dataclasses.asdict(segment) for segment in segments]))


def write_segments(run_dir: Path, segments: Sequence[Segment]) -> None:
    """Keep the extensions of a run.

    Raises:
        OSError: if they cannot be written.
    """
    write_checked(RunFolder(run_dir).segments, {"segments": plain_segments(segments)})


def new_segment(number: int, kept: Config, config: Config, known: Sequence[Segment]) -> Segment:
    """The extension `number` of a finished run.

    Args:
        number: 1 for the first extension.
        kept: config of the run so far.
        config: that it is to be extended with.
        known: extensions so far.

    Raises:
        UsageError: if it is not the next one, the run has not finished, or it changes what an extension cannot.
    """
    from cyclegan_dist.checkpoint.restore import read_shared  # loads torch

    if number != len(known) + 1:
        raise UsageError(f"run {config.name} has been extended {len(known)} times: give --extend {len(known) + 1}")
    found = read_shared(storage_at(config.checkpoint_path), run=recorded_identity(config.run_dir) or "")
    nimg = found[1]["step"] * kept.optim.batch_size if found else 0
    manifest = open_manifest(config.data.path, ()).selected(config.data.direction, config.data.max_samples)
    epoch_size = max(manifest.samples.values())
    total = end_of(kept, known, epoch_size)
    records = [record for record, _ in read_records(RunFolder(config.run_dir).journal, 0)]
    early = {record["nimg"] for record in records if record["kind"] == "early_end"}
    if nimg < total and nimg not in early:
        raise UsageError(
            f"run {config.name} has been trained for {nimg} of {total} images: finish it before --extend {number}, "
            "with the command that it was started with and without stop_after"
        )
    ends = [record for record in records if record["kind"] in ("run", "end")]
    if ends[-1].get("status") != "FINISHED":  # its last records and its snapshot may be missing
        raise UsageError(
            f"run {config.name} was ended before it had recorded its last step: repeat the command that it was started "
            f"with, and then --extend {number}"
        )
    changed = changes(kept, config)
    refuse_extension(config.name, changed)
    if any(key.startswith("method.") for key in changed):
        _refuse_other_players(kept, config)
    if 0 < config.stop_after <= nimg:
        raise UsageError(
            f"stop_after {config.stop_after} counts from the start of the run, which has seen {nimg} images: "
            "give more, or --stop_after 0"
        )
    return Segment(nimg, changed)


def _refuse_other_players(kept: Config, config: Config) -> None:
    """A weight between zero and another value may switch a network on or off, whose state would be missing."""
    from cyclegan_dist.training.start_from import names_and_shapes  # loads torch

    before, after = (
        {
            player.name: [name for name, _ in player.module.named_parameters()]
            for player in names_and_shapes(one).players
        }
        for one in (kept, config)
    )
    if kept.method.trained_with != config.method.trained_with:
        raise UsageError(
            f"an extension of run {config.name} cannot switch a pretrained network on or off by its weight, because "
            "its card would not name it: start a run of another --name with --init_from"
        )
    if before != after:
        raise UsageError(
            f"an extension of run {config.name} cannot switch an adversarial loss on or off by its weight: start a run "
            "of another --name with --init_from"
        )


def end_of(config: Config, segments: Sequence[Segment], epoch_size: int) -> int:
    """Images per domain after which the schedule of the newest segment ends."""
    start = segments[-1].nimg if segments else 0
    return start + config.schedule.total_epochs * epoch_size
