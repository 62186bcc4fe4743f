"""Is there room for what the run will write."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from cyclegan_dist.config.config import Config
from cyclegan_dist.operations.doctor.findings import Finding, Level, size
from cyclegan_dist.operations.doctor.fleet import Node, ranks_of

CHECK = "free space"
BYTES = {"fp64": 8}  # of a number, where it is not 4


@dataclass(frozen=True, kw_only=True)
class Need:
    """What the checkpoints of a run take: bytes and files of one, and how many lie there at once."""

    checkpoint: int
    files: int
    count: int

    @property
    def bytes(self) -> int:
        """Of all of them."""
        return self.checkpoint * self.count


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a file system has left: bytes and inodes; no number of inodes where it makes them as they are needed."""

    bytes: int
    inodes: int | None


def need_of(config: Config, ranks: int) -> Need:
    """Weights, two moments of Adam for each, averaged generators if asked for, and every rank's full history; one
    checkpoint more than are kept, for the newest is written before the oldest goes.
    """
    each = BYTES.get(config.optim.precision, 4)
    with torch.device("meta"):  # shapes alone
        method = config.method.build(rank_seed=0)
    weights = sum(p.numel() for p in method.networks.parameters())
    translators = method.translators.values() if config.optim.ema_decay else ()
    averaged = sum(p.numel() for network in translators for p in network.parameters())
    side = config.data.crop_size if "crop" in config.data.preprocess else config.data.load_size
    channels = config.method.channels
    history = sum(count * side * side * channels[domain] for domain, count in config.method.stored_images.items())
    return Need(
        checkpoint=each * (3 * weights + averaged + ranks * history),
        files=ranks + 3,  # shared.pt, manifest.json and the folder
        count=config.keep_checkpoints + config.keep_best + 1,
    )


def room_at(path: Path) -> Room:
    """What is left where `path` is, or will be made."""
    while not path.exists():
        path = path.parent
    there = os.statvfs(path)
    return Room(bytes=there.f_bavail * there.f_frsize, inodes=there.f_favail if there.f_files else None)


def check_space(nodes: list[Node], config: Config) -> list[Finding]:
    """Room at the checkpoints' place, besides what this run's own checkpoints take already."""
    need = need_of(config, ranks_of(config, nodes))
    place = config.checkpoint_path
    facts = f"{need.count} checkpoints of {size(need.checkpoint)}"
    if "://" in place:
        found = f"object store: how much is free is not known; {facts} come"
        return [Finding(check=CHECK, level="green", found=found, figures={"need": need.bytes})]
    return [judge(place, need, room_at(Path(place)), _size_below(Path(place)))]


def _size_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def judge(place: str, need: Need, room: Room, there: int) -> Finding:
    """Whether the room is enough; less than twice as much is yellow, for others write there too.

    Args:
        place: where it is.
        need: of the run.
        room: that is left.
        there: bytes of the run's own checkpoints, which will make way.
    """
    bytes_left, files = room.bytes + there, need.files * need.count
    figures = {"need": need.bytes, "free": bytes_left, "need_inodes": files, "free_inodes": room.inodes}
    inodes = room.inodes if room.inodes is not None else 2 * files
    level: Level = "green"
    if bytes_left < 2 * need.bytes or inodes < 2 * files:
        level = "yellow"
    if bytes_left < need.bytes or inodes < files:
        level = "red"
    shown = "any number of" if room.inodes is None else f"{room.inodes:,}"
    found = f"{need.count} checkpoints of {size(need.checkpoint)} need {size(need.bytes)} and {files} files; "
    found += f"{size(bytes_left)} and {shown} inodes are free at {place}"
    advice = "Free some, lower keep_checkpoints, or give checkpoints another place." if level != "green" else ""
    return Finding(check=CHECK, level=level, found=found, advice=advice, figures=figures)
