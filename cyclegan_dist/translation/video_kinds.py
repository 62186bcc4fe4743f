"""Kinds of video files: suffixes, containers and codecs."""

import importlib.util
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from cyclegan_dist.errors import UsageError
from cyclegan_dist.translation.job import Codec

if TYPE_CHECKING:
    from cyclegan_dist.models.snapshot import Snapshot

_SUFFIXES = {
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
    *(".ogv", ".wmv", ".flv", ".3gp"),
}
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}  # that are written
CODECS: dict[str, tuple[Codec, ...]] = {  # of each container, the first by default
    "mp4": ("h264", "h265", "av1", "vp9"),
    "mov": ("h264", "h265"),
    "matroska": ("h264", "h265", "av1", "vp9", "ffv1"),
    "webm": ("vp9", "av1"),
}
LARGEST_CRF = {"h264": 51, "h265": 51, "vp9": 63, "av1": 63}


def is_video(path: str | PurePath) -> bool:
    """Whether a file is taken for a video, by its suffix."""
    return PurePath(path).suffix.lower() in _SUFFIXES


def codec_of(path: Path, codec: Codec) -> Codec:
    """The codec of a file to write, where `auto` is the usual one of its container.

    Raises:
        UsageError: if the container cannot hold it.
    """
    possible = CODECS[CONTAINERS[path.suffix.lower()]]
    if codec == "auto":
        return possible[0]
    if codec not in possible:
        raise UsageError(f"--codec {codec}: a {path.suffix.lower()} file holds {', '.join(possible)}; give another")
    return codec


def has_av() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def refuse_missing_av() -> None:
    """Raise a UsageError if PyAV is not installed."""
    if not has_av():
        raise UsageError("video files need the package av: pip install 'cyclegan_dist[video]'")


def refuse_unfit(snapshot: "Snapshot", direction: str) -> None:
    """Raise a UsageError if the translations, or what they are made from, are not what videos hold."""
    taken, made = direction
    eight_bits = snapshot.values(made) is None
    if not (eight_bits and {*snapshot.channels(direction)} <= {1, 3} and snapshot.bands(taken) is None):
        raise UsageError("videos hold colour or grey of 8 bits, which this model does not: give image files")
