"""One process of a translation job: read images, translate them, write each file atomically."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from cyclegan_dist.data.encode import EncodedImage, encode_image, write_image
from cyclegan_dist.data.files import printable
from cyclegan_dist.data.images import UnreadableImageError, read_image
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.data.reader import BadSampleError, DataError, ShardReader
from cyclegan_dist.data.shards import write_tar
from cyclegan_dist.data.verify import samples_by_shard
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.models.translator import Translator
from cyclegan_dist.storage.files import atomic
from cyclegan_dist.translation.job import Job, Task, TranslationResult


class JobWorker:
    """Does tasks of a job, with the generator loaded once.

    Raises:
        UsageError: for a snapshot, device or tile that cannot be used, and when called, if nothing can be written.
    """

    def __init__(self, job: Job):
        self.job = job
        snapshot = Snapshot.open(job.snapshot)
        self._translator = Translator(snapshot, job.direction, job.device, tile=job.tile)
        if job.dataset:
            manifest = open_manifest(job.dataset).selected(snapshot.data_direction)
            self._reader = ShardReader(manifest, job.domain)
            self._samples = samples_by_shard(manifest)
        self._left_out: list[str] = []
        self._notes: list[str] = []

    def __call__(self, tasks: Sequence[Task]) -> TranslationResult:
        """Do them: files together, shards one after another."""
        self._left_out, self._notes = [], []
        written = sum(map(self._shard, tasks)) if self.job.dataset else self._files(tasks)
        return TranslationResult(written=written, left_out=self._left_out, notes=self._notes)

    def _files(self, tasks: Sequence[Task]) -> int:
        found = {task: self._read(Path(task.source), task.source) for task in tasks}
        images = {task: image for task, image in found.items() if image is not None}
        for task, made in zip(images, self._translator.translate_batch(list(images.values())), strict=True):
            save_image(made, Path(task.target))
        return len(images)

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
                yield key, encode_image(made, key)

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
        """C x H x W uint8 with the generator's channels, or None and a line with the reason."""
        try:
            picture = read_image(source)
            image = self._translator.decode(picture.pixels)
        except UnreadableImageError as error:
            self._left_out.append(f"left out {printable(name)}: {error}")
            return None
        if picture.note:
            self._notes.append(f"{picture.note}: {printable(name)}")
        return image


def save_image(image: Tensor, path: Path) -> None:
    """Write an image file atomically, in the format of its suffix.

    Raises:
        UsageError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path, durable=False) as draft:
            write_image(image, draft)
    except (OSError, ValueError) as error:
        advice = "" if path.suffix else "; name a file with a suffix, such as out.png, or an existing folder"
        raise UsageError(f"cannot write {printable(path)}: {error}{advice}") from error
