"""Translation of a video file: frames in batches, with its times, colours and sound."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclegan_dist.data.files import printable
from cyclegan_dist.models.translator import Translator
from cyclegan_dist.storage.files import atomic
from cyclegan_dist.translation.flicker import Flicker, FlickerMeter
from cyclegan_dist.translation.job import Job
from cyclegan_dist.translation.sizes import Sizes
from cyclegan_dist.translation.video_kinds import codec_of
from cyclegan_dist.translation.video_reading import Frame, VideoSource, open_video
from cyclegan_dist.translation.video_writing import VideoWriter, writing_errors

if TYPE_CHECKING:
    from av import Packet


@dataclass(frozen=True)
class VideoResult:
    """A translated video.

    Attributes:
        frames: number of frames.
        size: height and width of the frames before a crop.
        flicker: of the translation; None if that cannot be said.
        notes: remarks for the user.
    """

    frames: int
    size: tuple[int, int]
    flicker: Flicker | None
    notes: list[str]


def translate_video(
    translator: Translator,
    sizes: Sizes,
    job: Job,
    source: Path,
    target: Path,
    progress: Callable[[int], None] = lambda _: None,
) -> VideoResult:
    """Translate a video file into another, atomically.

    Memory is that of one batch, of the decoder's and of the encoder's own frames, for any length.

    Args:
        translator: of 8-bit images with 1 or 3 channels, into such.
        sizes: how frames are resized and cropped.
        job: batch size, codec and limits.
        source: the file to read.
        target: the file to write; its suffix says the container.
        progress: called with the number of frames that have been written since the last call.

    Raises:
        UnreadableImageError: if the source is no video or damaged; `target` is then left as it was.
        UsageError: if `target` cannot be written or cannot hold the sound.
    """
    codec = codec_of(target, job.codec)
    with open_video(source, job.max_pixels) as video, writing_errors(printable(target)):
        target.parent.mkdir(parents=True, exist_ok=True)
        meter, written, size, writer = FlickerMeter(), 0, (0, 0), None
        with atomic(target, durable=False) as draft:
            try:
                for items in _batches(video, job.batch_size):
                    frames = [translator.decode(item.pixels) for item in items if isinstance(item, Frame)]
                    resized = [sizes.resized(frame) for frame in frames]
                    images = [sizes.cropped(frame) for frame in resized]
                    made = translator.translate_batch(images)
                    if writer is None:
                        size = (resized[0].shape[1], resized[0].shape[2])
                        writer = VideoWriter(draft, video, made[0].shape[1], made[0].shape[2], codec, job.crf)
                    pairs = zip(images, made, strict=True)
                    for item in items:
                        if isinstance(item, Frame):
                            image, translation = next(pairs)
                            writer.write(translation, item.pts)
                            meter.add(image, translation)
                        else:
                            writer.copy(item)
                    written += len(images)
                    progress(len(images))
                assert writer is not None  # the source raises if it has no frame
                writer.finish()
                return VideoResult(written, size, meter.result(), [*video.notes, *writer.notes])
            finally:
                if writer is not None:
                    writer.close()


def _batches(video: VideoSource, count: int) -> "Iterator[list[Frame | Packet]]":
    """The items of a video in its order, in lists with `count` frames; the last one may have fewer."""
    items: list[Frame | Packet] = []
    frames = 0
    for item in video:
        items.append(item)
        frames += isinstance(item, Frame)
        if frames == count:
            yield items
            items, frames = [], 0
    if items:
        yield items
