"""Tasks of a job: the file or shard that each input is written to."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cyclegan_dist.data.encode import holds
from cyclegan_dist.data.files import EXTENSIONS, list_files, list_images, printable
from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.data.values import ValueRange
from cyclegan_dist.data.verify import samples_by_shard
from cyclegan_dist.errors import UsageError
from cyclegan_dist.translation.job import Codec, Task
from cyclegan_dist.translation.video_kinds import CONTAINERS, codec_of, has_av, is_video, refuse_missing_av

FORMATS = ("png", "jpg", "webp", "bmp", "gif", "tif", "npy")  # that can be asked for
KEPT = ("png", "bmp", "ppm", "pgm", "pnm", "tif", "tiff", "npy")  # lossless; other kinds of files become PNG


@dataclass(frozen=True, kw_only=True)
class Result:
    """What is written.

    Attributes:
        channels: of the translations.
        values: of the translations; None for 8 bits.
        extension: of the file type that was asked for; empty: that of the input, where it is lossless and can hold the
            translation, else png, else npy.
        codec: of videos.
    """

    channels: int
    values: ValueRange | None = None
    extension: str = ""
    codec: Codec = "auto"

    def can_be(self, extension: str) -> bool:
        """Whether files of a type can hold it."""
        return holds(extension, self.channels, self.values)

    @property
    def what(self) -> str:
        """For messages."""
        bits = self.values.dtype if self.values else "8 bits"
        return f"the translation has {bits} and {self.channels} channels"


def file_tasks(
    source: Path, output: str, result: Result, report: Callable[[str], object] = lambda line: None
) -> list[Task]:
    """A task for each image and video of the folder `source`, below `output`; or for the one file `source`.

    Args:
        source: a folder, which is searched recursively, or a file.
        output: a folder for a folder; for a file a file with a suffix, or a folder: one that exists, or a name that has
            no suffix or ends with a slash.
        result: what is written.
        report: called with a line if videos among images are left out because PyAV is missing.

    Raises:
        UsageError: if there are no images or videos; if the file type cannot hold the translations; or if one would
            overwrite an input or another, or lie outside `output`; or if there are only videos and PyAV is missing.
    """
    if result.extension and not result.can_be(result.extension):
        raise UsageError(f"--format {result.extension}: {result.what}: {_HELD}")
    folder = Path(output)
    if source.is_dir():
        images = list_images(source)
        videos = [path.as_posix() for path in list_files(source) if is_video(path)]
        if images and videos and not has_av():
            report(
                f"left out {len(videos)} video{'s' * (len(videos) != 1)} of {printable(source)}: video files need the "
                "package av: pip install 'cyclegan_dist[video]'"
            )
            videos = []
        names = sorted([*images, *videos])
        if not names:
            raise UsageError(f"{source} holds no images and no videos")
        targets = {source / name: folder / _written_name(name, result) for name in names}
        _refuse_outside(folder, targets)
    elif not source.is_file():
        raise UsageError(f"{source} is neither an image, a video nor a folder")
    elif folder.is_dir() or output.endswith("/") or not folder.suffix:
        if folder.is_file():
            raise UsageError(f"{folder} is a file without a suffix: choose another OUTPUT")
        targets = {source: folder / _written_name(source.name, result)}
        _refuse_outside(folder, targets)
    else:
        if is_video(source):
            _refuse_container(folder)
        else:
            _refuse_suffix(folder, result)
        targets = {source: folder}
    _refuse_collisions(targets)
    written = [target for path, target in targets.items() if is_video(path)]
    if written:
        refuse_missing_av()
    for target in written:
        codec_of(target, result.codec)
    return [Task(source=str(path), target=str(target)) for path, target in targets.items()]


def shard_tasks(manifest: Manifest, domain: str, output: Path) -> list[Task]:
    """A task for each shard of a domain, of the same name below `output`.

    Raises:
        UsageError: if one would lie outside `output`, or overwrite an input.
    """
    shards = [name for name, (found, _) in samples_by_shard(manifest).items() if found == domain]
    targets = {Path(manifest.place(name)): output / name for name in shards}
    _refuse_outside(output, targets)
    _refuse_collisions(targets)
    return [Task(source=name, target=str(output / name)) for name in shards]


_HELD = "give tif or npy, which hold all; png holds 8 or 16 bits with 1 or 3 channels, others 8 bits with 1 or 3"


def _written_name(name: str, result: Result) -> str:
    path = Path(name)
    if is_video(path):
        return name if path.suffix.lower() in CONTAINERS else str(path.with_suffix(".mkv"))
    own = path.suffix.lower().removeprefix(".")
    if own in KEPT and result.can_be(own) and result.extension in ("", own):
        return name
    extension = result.extension or ("png" if result.can_be("png") else "npy")
    return str(path.with_suffix(f".{extension}")) if path.suffix.lower() in EXTENSIONS else f"{name}.{extension}"


def _refuse_container(path: Path) -> None:
    if path.suffix.lower() not in CONTAINERS:
        kinds = ", ".join(CONTAINERS)
        raise UsageError(f"{printable(path)}: no video that can be written ends so; give {kinds}, or a folder: {path}/")


def _refuse_suffix(path: Path, result: Result) -> None:
    """The suffix of a file that is named must be one that can be written, and the one that is asked for."""
    suffix = path.suffix.lower()
    if suffix not in EXTENSIONS:
        raise UsageError(f"{printable(path)}: no image ends so; give one of {', '.join(FORMATS)}, or a folder: {path}/")
    if not result.can_be(suffix[1:]):
        raise UsageError(f"{printable(path)}: {result.what}: {_HELD}")
    if result.extension and suffix != f".{result.extension}":
        raise UsageError(f"{printable(path)} and --format {result.extension} differ: leave out one of them")


def _refuse_outside(output: Path, targets: dict[Path, Path]) -> None:
    """Links in OUTPUT must not lead out of it."""
    root = output.resolve()
    for target in targets.values():
        try:
            inside = target.resolve().is_relative_to(root)
        except (OSError, RuntimeError):  # a link to itself
            inside = False
        if not inside:
            raise UsageError(f"{printable(target)} is or lies behind a link out of {output}: remove the link")


def _refuse_collisions(targets: dict[Path, Path]) -> None:
    inputs, taken = {source.resolve() for source in targets}, dict[Path, Path]()
    for source, target in targets.items():
        if target.resolve() in inputs:
            raise UsageError(f"{printable(target)} would overwrite the input: choose another OUTPUT")
        other = taken.setdefault(target, source)
        if other != source:
            pair = f"{printable(other)} and {printable(source)}"
            raise UsageError(f"{pair} would both become {printable(target.name)}: rename one")
