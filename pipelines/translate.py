"""Translate images with a trained generator.

    python -m pipelines.translate RUN_DIR_or_SNAPSHOT_or_models:/NAME@ALIAS INPUT OUTPUT --direction AB

INPUT is one image or a folder, of any sizes; OUTPUT gets the same file names. Lossless files keep their type; others
become PNG, and what no PNG holds TIFF or .npy: `--format` asks for another. Of a run, the newest snapshot is used. If
INPUT is a data set of `pipelines.prepare`, its domain A (or B) is translated, and OUTPUT gets WebDataset tars of the
same names and keys.

INPUT may also be a video, or hold videos beside images (`pip install 'cyclegan_dist[video]'`): frame rate, size, sound
and colour range stay the same. OUTPUT's suffix says the container: .mp4, .mov, .mkv or .webm. A line says how much more
the translated frames change than the input where nothing moves, and whether that flickers; the same for numbered frames
in a folder.

A model that was trained on images of more than 8 bits takes and writes these. `--tile 1024 --max-megapixels 1000`
translates large images in little memory: TIFF to TIFF is not even read whole.

`--workers 8` spreads files, or shards, over a Ray cluster: that of RAY_ADDRESS, or one on this machine. Images, and the
frames of videos before they are encoded, are the same for any number, bit for bit. Run the same command again to resume
an interrupted translation. Results that are there already are replaced with --overwrite only.

Images and videos that cannot be read, or are damaged, are left out with one line each: all others are translated, and
the exit code is 1.
"""

import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console
from rich.progress import Progress, ProgressColumn
from rich.progress import Task as Bar
from rich.text import Text

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.data.config import MANIFEST
from cyclegan_dist.data.domain_names import chosen_direction, refuse_exchanged, refuse_no_direction
from cyclegan_dist.data.files import list_files
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.registry.sources import open_source, refuse_missing_source
from cyclegan_dist.translation.video_kinds import LARGEST_CRF, is_video, refuse_unfit

if TYPE_CHECKING:
    from cyclegan_dist.models.snapshot import Snapshot
    from cyclegan_dist.translation.job import Job, Task, TranslationResult

CONSOLE = Console(stderr=True)


@dataclass(frozen=True)
class Translate:
    """Translate images with a trained generator."""

    model: tyro.conf.Positional[str]
    """Folder of a run or of a snapshot, or models:/NAME@ALIAS."""
    input: tyro.conf.Positional[str]
    """An image, a video, a folder of images and videos, searched recursively, or folder or URL of a data set."""
    output: tyro.conf.Positional[str]
    """Folder to make or to fill; for an image or a video also a file, of which the ending says the type."""
    direction: Annotated[str, tyro.conf.arg(metavar="{AB,BA,NAME-to-NAME}")] = "AB"
    """AB: from domain A to domain B. Of a model whose domains have names also by these, as summer-to-winter."""
    batch_size: int = 1
    """Images of equal size that are computed at once. With --workers, files are computed one by one."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto takes a GPU if there is one."""
    tile: int = 0
    """Pixels: images with a longer side are computed in tiles of this side, without seams, in less memory. 0: none."""
    format: Literal["auto", "png", "jpg", "webp", "bmp", "gif", "tif", "npy"] = "auto"
    """Type of the files to write. jpg has quality 100 and full colour resolution. auto: the input's, if it is lossless
    and can hold the translation, else png, else npy."""
    black: float | None = None
    """Value that is black in input images of more than 8 bits. By default the one of training, or 0."""
    white: float | None = None
    """Value that is white in input images of more than 8 bits, 4095 for example. By default the one of training, or
    the largest of their bits."""
    preprocess: Literal["none", "resize_and_crop", "crop", "scale_width", "scale_width_and_crop"] = "none"
    """Resize and crop as `data.preprocess` of training does, but crop at the centre. none: keep the size."""
    load_size: int = 0
    """Pixels that `--preprocess` resizes to. 0: the crop's size; for scale_width the width of training."""
    crop_size: int = 0
    """Side in pixels of the crop of `--preprocess`. 0: that of training."""
    max_megapixels: float = 50
    """Largest size of an image that is read, in millions of pixels: a limit for files that unpack to gigabytes."""
    codec: Literal["auto", "h264", "h265", "vp9", "av1", "ffv1"] = "auto"
    """Of videos to write; ffv1 is lossless and needs .mkv. auto: vp9 for .webm, else h264."""
    crf: int = 18
    """Quality of videos to write: 0 is the best; 18 can hardly be told from it, 28 is visibly worse and far smaller."""
    overwrite: bool = False
    """Replace results that are there already. An interrupted translation is resumed without it."""
    workers: int = 0
    """Processes on a Ray cluster, with one core or GPU each. 0: this process does it."""


def run(command: Translate) -> int:
    """Translate. Returns the number of images that could not be read."""
    _check(command)
    from cyclegan_dist.translation.job import Job  # these load torch
    from cyclegan_dist.translation.resume import refuse_existing, unfinished
    from cyclegan_dist.translation.sizes import geometry

    snapshot = open_source(command.model)
    sizes = geometry(command.preprocess, command.load_size, command.crop_size, snapshot.preprocess)
    job = Job(
        snapshot=str(snapshot.folder.absolute()),
        direction=chosen_direction(command.direction, snapshot.domain_names),
        device=command.device,
        batch_size=max(1, command.batch_size),
        tile=command.tile,
        dataset=command.input if _is_dataset(command.input) else "",
        extension="" if command.format == "auto" else command.format,
        max_pixels=round(1e6 * command.max_megapixels),
        black=command.black,
        white=command.white,
        preprocess=command.preprocess,
        load_size=sizes.load_size,
        crop_size=sizes.crop_size,
        codec=command.codec,
        crf=command.crf,
    )
    tasks = _tasks(command, job, snapshot)
    if not job.dataset and Path(command.input).is_file():
        if not command.overwrite:
            refuse_existing(tasks)
        return _do(command, job, tasks, tasks)
    with unfinished(Path(command.output), job, command.input, tasks, overwrite=command.overwrite) as left:
        return _do(command, job, tasks, left)


def _check(command: Translate) -> None:
    """Refuse what can be refused before torch is loaded."""
    refuse_no_direction(command.direction)
    if command.workers < 0:
        raise UsageError(f"--workers {command.workers}: give 0 or more")
    if command.max_megapixels <= 0 or command.load_size < 0 or command.crop_size < 0:
        raise UsageError("--max-megapixels must be above 0, --load-size and --crop-size not below")
    if command.white is not None and command.white <= (command.black or 0):
        raise UsageError(f"--white {command.white:g} must be above --black {command.black or 0:g}")
    if command.format != "auto" and _is_dataset(command.input):
        raise UsageError(f"--format {command.format} is for files: shards hold PNG, or .npy where that cannot be")
    if command.format != "auto" and is_video(command.input):
        raise UsageError(f"--format {command.format} is for images: a video gets --codec, and its kind from its suffix")
    largest = LARGEST_CRF.get(command.codec, min(LARGEST_CRF.values()))
    if not 0 <= command.crf <= largest:
        raise UsageError(f"--crf {command.crf}: give 0 to {largest}")
    refuse_missing_source(command.model)
    if not _is_dataset(command.input) and not Path(command.input).exists():
        raise UsageError(f"{command.input} is neither an image, a video nor a folder: it does not exist; give one")
    if Path(command.input).is_dir() and next(list_files(Path(command.input)), None) is None:
        raise UsageError(f"{command.input} holds no images and no videos, it is empty: give a folder of some")


def _is_dataset(source: str) -> bool:
    return "://" in source or Path(source).name == MANIFEST or (Path(source) / MANIFEST).exists()


def _tasks(command: Translate, job: "Job", snapshot: "Snapshot") -> "list[Task]":
    from cyclegan_dist.data.manifest import open_manifest
    from cyclegan_dist.translation.targets import Result, file_tasks, shard_tasks

    _, channels = snapshot.channels(job.direction)
    if job.dataset:
        manifest = open_manifest(job.dataset).selected(snapshot.data_direction)
        names, of = snapshot.domain_names, f"snapshot {snapshot.folder}"
        if other := refuse_exchanged(manifest.root, manifest.domain_names, of, names):
            _print(other)
        return shard_tasks(manifest, job.domain, Path(command.output))
    values = snapshot.values(job.direction[1])
    result = Result(channels=channels, values=values, extension=job.extension, codec=job.codec)
    tasks = file_tasks(Path(command.input), command.output, result, _print)
    if any(is_video(task.source) for task in tasks):
        refuse_unfit(snapshot, job.direction)
    return tasks


class _Speed(ProgressColumn):
    """Images, or shards, per second."""

    def render(self, task: Bar) -> Text:
        return Text(f"{task.speed:.1f} {task.fields['unit']}/s" if task.speed else "")


def _do(command: Translate, job: "Job", every: "list[Task]", tasks: "list[Task]") -> int:
    """Do `tasks`, those of `every` that are not done, and print their results. Returns the number of images and videos
    that could not be read.
    """
    written = left_out = videos = frames = done = 0
    counts: Counter[str] = Counter()
    columns = (*Progress.get_default_columns(), _Speed())
    progress = Progress(*columns, console=CONSOLE, disable=not CONSOLE.is_terminal)
    began = time.perf_counter()
    with progress as bar:
        name, unit = f"{Path(job.snapshot).name} {job.direction}", "shards" if job.dataset else "images"
        task = bar.add_task(name, total=_length(tasks) if CONSOLE.is_terminal else None, unit=unit)

        def advance(count: int) -> None:
            bar.update(task, advance=count)

        with closing(_outcomes(command, job, tasks, advance)) as outcomes:
            for count, outcome in outcomes:
                for line in (*outcome.left_out, *outcome.notes):
                    _print(line)
                counts.update(outcome.counts)
                written, left_out = written + outcome.written, left_out + len(outcome.left_out)
                videos, frames = videos + outcome.videos, frames + outcome.frames
                done += count - outcome.videos + outcome.frames
                bar.update(task, completed=done)
    for remark, count in counts.items():
        _print(f"{count} image{'s' * (count != 1)}: {remark}")
    if not job.dataset:
        _print_flicker(job, every)
    made = f"{written} images" * bool(written or not videos) + " and " * bool(written and videos)
    made += f"{videos} video{'s' * (videos != 1)} of {frames} frames" * bool(videos)
    speed = f" ({(written + frames) / (time.perf_counter() - began):.1f} images/s)" * bool(videos)
    done_before = len(every) - len(tasks)
    kind = "shards" if job.dataset else "files" if any(is_video(task.source) for task in every) else "images"
    print(f"{made} translated to {command.output}{speed}" + f", {done_before} {kind} done before" * bool(done_before))
    return left_out


def _length(tasks: "list[Task]") -> int:
    """Images and frames, as far as videos say how many they have."""
    from cyclegan_dist.translation.video_reading import count_frames

    return sum(count_frames(Path(task.source)) if is_video(task.source) else 1 for task in tasks)


def _print_flicker(job: "Job", tasks: "list[Task]") -> None:
    from cyclegan_dist.translation.sequences import frame_sequences, sequence_flicker, sequence_name

    for frames in frame_sequences([task for task in tasks if not is_video(task.source)]):
        if (flicker := sequence_flicker(frames, job)) is not None:
            for line in flicker.lines(sequence_name(frames)):
                _print(line)


def _print(line: str) -> None:
    CONSOLE.print(line, soft_wrap=True, markup=False, highlight=False)


def _outcomes(
    command: Translate, job: "Job", tasks: "list[Task]", advance: Callable[[int], None]
) -> "Generator[tuple[int, TranslationResult]]":
    """Yield the number of tasks that were done together, and their result."""
    if command.workers:
        from cyclegan_dist.orchestration.translating import translate_on_ray  # loads ray

        yield from ((1, outcome) for outcome in translate_on_ray(job, tasks, command.workers))
        return
    from cyclegan_dist.translation.work import JobWorker

    worker = JobWorker(job, advance)
    together = 1 if job.dataset else job.batch_size
    for start in range(0, len(tasks), together):
        part = tasks[start : start + together]
        yield len(part), worker(part)


def main() -> int:
    """Read the command line and translate. Returns 1 if an image could not be read."""
    return 1 if run(parse_options(Translate, "translate", __doc__)) else 0


if __name__ == "__main__":
    run_command(main)
