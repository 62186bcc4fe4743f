"""One process of a translation job: read images, translate them, write each file atomically."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.data.encode import EncodedImage, encode_image, write_image
from cyclegan_dist.data.files import printable
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.data.picture import UnreadableImageError
from cyclegan_dist.data.reader import BadSampleError, DataError, ShardReader
from cyclegan_dist.data.tars import write_tar
from cyclegan_dist.data.values import ValueRange
from cyclegan_dist.data.verify import samples_by_shard
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.models.translator import Translator
from cyclegan_dist.storage.files import atomic
from cyclegan_dist.translation.job import Job, Task, TranslationResult
from cyclegan_dist.translation.large_tiff import open_large_tiff, translate_large
from cyclegan_dist.translation.sizes import Sizes
from cyclegan_dist.translation.video import translate_video
from cyclegan_dist.translation.video_kinds import is_video


class JobWorker:
    """Does tasks of a job, with the generator loaded once.

    Args:
        job: what is done.
        progress: called while a video is translated, with the number of its frames since the last call.

    Raises:
        UsageError: for a snapshot, device or tile that cannot be used, and when called, if nothing can be written.
    """

    def __init__(self, job: Job, progress: Callable[[int], None] = lambda _: None):
        self.job, self._progress = job, progress
        snapshot = Snapshot.open(job.snapshot)
        self._translator = Translator(
            snapshot, job.direction, job.device, tile=job.tile, black=job.black, white=job.white
        )
        sizes = DataConfig(preprocess=job.preprocess, load_size=job.load_size, crop_size=job.crop_size, flip=False)
        self._sizes = Sizes(sizes, snapshot.preprocess)
        if job.dataset:
            manifest = open_manifest(job.dataset).selected(snapshot.data_direction)
            self._reader = ShardReader(manifest, job.domain)
            self._samples = samples_by_shard(manifest)
        self._left_out: list[str] = []
        self._notes: list[str] = []
        self._counts: Counter[str] = Counter()
        self._frames: list[int] = []  # of each video

    def __call__(self, tasks: Sequence[Task]) -> TranslationResult:
        """Do them: files together, shards one after another."""
        self._left_out, self._notes, self._counts, self._frames = [], [], Counter(), []
        written = sum(map(self._shard, tasks)) if self.job.dataset else self._files(tasks)
        return TranslationResult(
            written=written,
            left_out=self._left_out,
            notes=self._notes,
            counts=self._counts,
            videos=len(self._frames),
            frames=sum(self._frames),
        )

    def _files(self, tasks: Sequence[Task]) -> int:
        videos = [task for task in tasks if is_video(task.source)]
        for task in videos:
            self._video(task)
        tasks = [task for task in tasks if task not in videos]
        large = {task: self._large_tiff(task) for task in tasks}
        found = {task: self._read(Path(task.source), task.source) for task in tasks if large[task] is None}
        images = {task: image for task, image in found.items() if image is not None}
        for task, made in zip(images, self._translator.translate_batch(list(images.values())), strict=True):
            save_image(made, Path(task.target), self._translator.values_out)
        return len(images) + sum(written for written in large.values() if written)

    def _large_tiff(self, task: Task) -> bool | None:
        """Translate a TIFF file that is larger than memory into another; None if it is none, False if it cannot be
        read.
        """
        source, target = Path(task.source), Path(task.target)
        is_tiff = {source.suffix.lower(), target.suffix.lower()} <= {".tif", ".tiff"}
        if not (is_tiff and self.job.tile and self.job.preprocess == "none" and self._translator.bands is None):
            return None
        with open_large_tiff(source, self.job.max_pixels) as tiff:
            if tiff is None:
                return None
            try:
                translate_large(self._translator, tiff, target)
            except UnreadableImageError as error:
                self._left_out.append(f"left out {printable(source)}: {error}")
                return False
            except OSError as error:
                raise UsageError(f"cannot write {printable(target)}: {error}") from error
            if tiff.pages:
                self._notes.append(f"first of several frames taken: {printable(source)}")
            self._remark(tiff.eight_bits, *tiff.shape[1:])
        return True

    def _video(self, task: Task) -> None:
        source, target = Path(task.source), Path(task.target)
        try:
            made = translate_video(self._translator, self._sizes, self.job, source, target, self._progress)
        except UnreadableImageError as error:
            self._left_out.append(f"left out {printable(source)}: {error}")
            return
        self._frames.append(made.frames)
        self._notes += [f"{note}: {printable(source)}" for note in made.notes]
        if made.flicker is not None:
            self._notes += made.flicker.lines(printable(source))
        self._remark(True, *made.size)

    def _shard(self, task: Task) -> int:
        try:
            return write_tar(Path(task.target), self._translations(task.source))
        except OSError as error:
            raise UsageError(f"cannot write {printable(task.target)}: {error}") from error

    def _translations(self, shard: str) -> Iterator[tuple[str, EncodedImage]]:
        """Keys and translations of a shard's samples that can be read, in their order."""
        samples = self._samples[shard][1]
        for start in range(0, len(samples), self.job.batch_size):
            images: dict[str, Tensor] = {}
            for index in samples[start : start + self.job.batch_size]:
                image = self._sample(index, shard)
                if image is not None:
                    images[self._reader.key(index)] = image
            for key, made in zip(images, self._translator.translate_batch(list(images.values())), strict=True):
                yield key, encode_image(made, key, values=self._translator.values_out)

    def _sample(self, index: int, shard: str) -> Tensor | None:
        try:
            data = self._reader.read(index)
        except BadSampleError as error:
            self._left_out.append(f"left out {error}")
            return None
        except DataError as error:
            raise UsageError(str(error)) from error
        return self._read(data, f"{shard}, sample {self._reader.key(index)}")

    def _read(self, source: Path | bytes, name: str) -> Tensor | None:
        """The decoded image, resized and cropped, or None and a line with the reason."""
        try:
            picture = self._translator.read(source, self.job.max_pixels, prepared=bool(self.job.dataset))
            resized = self._sizes.resized(self._translator.decode(picture))
            image = self._sizes.cropped(resized)
        except UnreadableImageError as error:
            self._left_out.append(f"left out {printable(name)}: {error}")
            return None
        if picture.note:
            self._notes.append(f"{picture.note}: {printable(name)}")
        self._remark(picture.pixels.dtype == torch.uint8, *resized.shape[1:])
        clipped, reached = self._translator.used(picture)
        if clipped > 0.01:
            self._counts["more than 1 % of values beyond black or white, so clipped: see --black and --white"] += 1
        elif reached < 0.25:
            self._counts["no value above a quarter of white, so that they are nearly black: see --white"] += 1
        return image

    def _remark(self, eight_bits: bool, height: int, width: int) -> None:
        """Count what applies to an image of so many bits, resized to these sides."""
        trained = self._translator.values_in
        if eight_bits and trained is not None:
            self._counts["8 bits, of which 0 is black and 255 white, for a model trained on " + trained.dtype] += 1
        elif not eight_bits and trained is None:
            white = "the largest value of their bits" if self.job.white is None else f"{self.job.white:g}"
            levels = f"{self.job.black or 0:g} is black and {white} white"
            self._counts[f"more than 8 bits, of which {levels}; written with 8, as trained"] += 1
        if remark := self._sizes.remark(height, width):
            self._counts[remark] += 1


def save_image(image: Tensor, path: Path, values: ValueRange | None) -> None:
    """Write an image file atomically, in the format of its suffix, as `write_image`.

    Raises:
        UsageError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path, durable=False) as draft:
            write_image(image, draft, values)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write {printable(path)}: {error}") from error
