"""Kinds of video files: suffixes, containers and codecs."""

import importlib.util
from pathlib import Path, PurePath

from cyclegan_dist.errors import UsageError
from cyclegan_dist.translation.job import Codec

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


def refuse_missing_av() -> None:
    """Raise a UsageError if PyAV is not installed."""
    if importlib.util.find_spec("av") is None:
        raise UsageError("video files need the package av: pip install 'cyclegan_dist[video]'")
