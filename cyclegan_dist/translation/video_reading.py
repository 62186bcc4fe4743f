"""Video files, read frame by frame with PyAV: upright RGB frames, and the other streams as they are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cyclegan_dist.data.picture import UnreadableImageError
from cyclegan_dist.translation.video_kinds import refuse_missing_av

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.stream import Stream

# Demuxers of these files. Others would follow addresses in the file, such as those of playlists.
_FORMATS = "mov,matroska,webm,avi,mpeg,mpegts,mpegvideo,ogg,asf,flv,h264,hevc,m4v"
_UNSPECIFIED = 2  # of matrix, primaries and transfer, in the codes of ITU-T H.273
_BT709, _BT601 = 1, 6  # matrices
_SWSCALE = {4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}  # H.273 matrix: swscale's number; BT.709 is 1 for others
_FULL = 2  # of ranges: 0 is unspecified, 1 limited
_WHOLE = 0.9  # of the frames that a file says it has; where they are estimated, a few may be missing
_HDR = {16: "PQ", 18: "HLG"}


@dataclass(frozen=True)
class Colours:
    """How the numbers of a video mean colours, in the codes of ITU-T H.273.

    Attributes:
        matrix: between RGB and luma with chroma.
        full: whether black is 0 and white 255; else 16 and 235.
        primaries: of RGB.
        transfer: from values to light.
    """

    matrix: int
    full: bool
    primaries: int = _UNSPECIFIED
    transfer: int = _UNSPECIFIED

    @property
    def swscale_matrix(self) -> int:
        """In the numbers of FFmpeg's scaler."""
        return _SWSCALE.get(self.matrix, 1)


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    Attributes:
        pixels: 3 x height x width, uint8 RGB, upright.
        pts: when it is shown, in units of the source's `time_base`.
    """

    pixels: Tensor
    pts: int


class VideoSource:
    """An open video file. Iterate over it once.

    Attributes:
        rate: frames per second on average.
        time_base: unit of the frames' times, in seconds.
        others: streams of sound and subtitles.
        frames: about how many there are; 0 if the file does not say.
        colours: of the first frame; set when it has been read.
        aspect: width of a pixel over its height; set when the first frame has been read.
        notes: remarks for the user; complete at the end.
    """

    def __init__(self, container: "InputContainer", max_pixels: int):
        video = next((stream for stream in container.streams.video if not _is_cover(stream)), None)
        if video is None:
            raise UnreadableImageError("it has no video stream")
        if (pixels := video.width * video.height) > max_pixels:
            raise UnreadableImageError(
                f"its frames have {pixels / 1e6:.1f} megapixels, above the limit of {max_pixels / 1e6:g}: "
                "raise --max-megapixels"
            )
        video.thread_type = "AUTO"
        self._container, self._video, self._max_pixels = container, video, max_pixels
        self.rate = video.average_rate or video.guessed_rate or Fraction(25)
        self.time_base = video.time_base or 1 / self.rate
        self.others: Sequence[Stream] = [*container.streams.audio, *container.streams.subtitles]
        self.frames = video.frames or _from_duration(container, video.duration, self.time_base, self.rate)
        self.colours: Colours | None = None
        self.aspect = video.sample_aspect_ratio or Fraction(1)
        self.notes: list[str] = []

    def __iter__(self) -> "Iterator[Frame | Packet]":
        """Frames, and packets of the other streams between them, in the order of the file.

        Raises:
            UnreadableImageError: if it is damaged, or holds no frame.
        """
        last, shape, count = None, None, 0
        for item in self._items():
            if not isinstance(item, tuple):
                yield item
                continue
            frame, turn = item
            if self.colours is None:
                self._look(frame, turn)
            pixels = _upright(_rgb(frame, self.colours or _colours(frame)), turn)
            if shape not in (None, pixels.shape):
                raise UnreadableImageError("the size of its frames changes")
            shape = pixels.shape
            step = max(1, round(1 / (self.rate * self.time_base)))
            pts = frame.pts if frame.pts is not None else 0 if last is None else last + step
            last = pts if last is None else max(pts, last + 1)  # encoders refuse times that do not rise
            count += 1
            yield Frame(pixels, last)
        if last is None:
            raise UnreadableImageError("it holds no frames")
        if count < _WHOLE * self.frames:
            self.notes.append(f"ends after {count} of about {self.frames} frames: it may be cut off")

    def _items(self) -> "Iterator[Packet | tuple[VideoFrame, Any]]":
        """Packets of other streams, and frames with their display matrix."""
        from av.error import FFmpegError

        count = 0
        try:
            for packet in self._container.demux([self._video, *self.others]):
                if packet.stream is not self._video:
                    if packet.dts is not None:  # else it is the empty one at the end
                        yield packet
                    continue
                for frame in self._video.decode(packet):
                    if frame.width * frame.height > self._max_pixels:
                        raise UnreadableImageError("its frames exceed the limit of --max-megapixels")
                    count += 1
                    yield frame, _display_matrix(frame)
        except FFmpegError as error:
            raise UnreadableImageError(f"damaged after {count} frames: {error.strerror or error}") from error

    def _look(self, frame: "VideoFrame", turn: Any) -> None:
        """Read what holds for all frames off the first one."""
        self.colours = _colours(frame)
        if turn is not None and turn[0, 0] == 0:
            self.aspect = 1 / self.aspect
        if frame.interlaced_frame:
            self.notes.append("interlaced: its two fields are translated as one picture")
        if (kind := _HDR.get(int(frame.color_trc))) is not None:
            self.notes.append(f"high dynamic range ({kind}): read as it is, not with the tones of ordinary images")
        if any(component.bits > 8 for component in frame.format.components):
            self.notes.append("more than 8 bits: written with 8")


@contextmanager
def open_video(path: Path, max_pixels: int) -> Iterator[VideoSource]:
    """Open a video file; nothing but this file is read.

    Raises:
        UnreadableImageError: if it is no video, or its frames have more than `max_pixels`.
        UsageError: without the package av.
    """
    refuse_missing_av()
    import av
    from av.error import FFmpegError

    try:
        container = av.open(str(path), container_options={"protocol_whitelist": "file", "format_whitelist": _FORMATS})
    except (FFmpegError, OSError) as error:
        raise UnreadableImageError(f"no video that can be read: {error.strerror or error}") from error
    with container:
        yield VideoSource(container, max_pixels)


def count_frames(path: Path) -> int:
    """About how many frames a video has; 1 if that is not known."""
    try:
        with open_video(path, 2**62) as source:
            return max(1, source.frames)
    except UnreadableImageError:
        return 1


def _is_cover(stream: Any) -> bool:
    return "attached_pic" in stream.disposition.name if stream.disposition else False


def _from_duration(container: "InputContainer", duration: int | None, time_base: Fraction, rate: Fraction) -> int:
    seconds = duration * time_base if duration else (container.duration or 0) / Fraction(1_000_000)
    return round(seconds * rate)


def _colours(frame: "VideoFrame") -> Colours:
    """Of a frame. Where the file names no matrix, that which players assume for the size."""
    matrix, is_rgb = int(frame.colorspace), frame.format.is_rgb
    if matrix == _UNSPECIFIED or is_rgb:
        matrix = _BT709 if frame.width >= 1280 or frame.height > 576 else _BT601
    full = not is_rgb and (int(frame.color_range) == _FULL or frame.format.name.startswith("yuvj"))
    return Colours(matrix, full, int(frame.color_primaries), int(frame.color_trc))


def _rgb(frame: "VideoFrame", colours: Colours) -> Tensor:
    """3 x height x width uint8."""
    options: dict[str, Any] = {"format": "rgb24", "dst_color_range": _FULL, "interpolation": scaling_flags()}
    if not frame.format.is_rgb:
        options |= {"src_colorspace": colours.swscale_matrix, "src_color_range": 1 + colours.full}
    return torch.from_numpy(frame.reformat(**options).to_ndarray()).permute(2, 0, 1)


def scaling_flags() -> Any:
    """Accurate conversion between RGB and luma with chroma: FFmpeg's default saves time."""
    from av.video.reformatter import Interpolation as Flag

    return Flag.BICUBIC | Flag.ACCURATE_RND | Flag.FULL_CHR_H_INT | Flag.FULL_CHR_H_INP | Flag.BITEXACT


def _display_matrix(frame: "VideoFrame") -> Any:
    """The upper left 2 x 2 of the matrix by which players turn or mirror a frame; None if there is none."""
    sides: list[Any] = list(frame.side_data)
    data = next((side for side in sides if side.type.name == "DISPLAYMATRIX"), None)
    return None if data is None else np.frombuffer(bytes(data), np.int32)[[0, 1, 3, 4]].reshape(2, 2)


def _upright(pixels: Tensor, turn: Any) -> Tensor:
    """A frame as players show it: quarter turns and mirroring; other turns are left out."""
    if turn is None:
        return pixels
    (a, b), (c, d) = turn.tolist()  # x' = a x + c y, y' = b x + d y
    if a == 0 and d == 0:
        pixels, a, d = pixels.transpose(1, 2), c, b
    elif b or c:
        return pixels
    return pixels.flip([dim for dim, way in ((2, a), (1, d)) if way < 0])
