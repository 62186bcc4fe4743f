"""Video files, written frame by frame with PyAV, with the sound and subtitles of another file."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from cyclegan_dist.errors import UsageError
from cyclegan_dist.translation.job import Codec
from cyclegan_dist.translation.video_kinds import CONTAINERS, LARGEST_CRF
from cyclegan_dist.translation.video_reading import VideoSource, scaling_flags

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.stream import Stream

_ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {}),
    "h265": ("libx265", {"x265-params": "log-level=error"}),
    "vp9": ("libvpx-vp9", {"cpu-used": "4", "row-mt": "1"}),
    "av1": ("libsvtav1", {"preset": "8"}),
    "ffv1": ("ffv1", {"level": "3"}),
}


class VideoWriter:
    """A video file that is being written, with the times, colours and other streams of `source`, of which the first
    frame has been read.

    Args:
        path: file to write; the suffix says the container.
        source: where the other streams come from.
        height, width: of the frames.
        codec: not `auto`.
        crf: constant rate factor: 0 is the best quality; ffv1 is lossless and has none.

    Attributes:
        notes: remarks for the user.

    Raises:
        UsageError: if the container cannot hold the sound, or this build of PyAV lacks the encoder.
    """

    def __init__(self, path: Path, source: VideoSource, height: int, width: int, codec: Codec, crf: int):
        import av
        from av.codec.codec import UnknownCodecError

        assert source.colours is not None
        container = CONTAINERS[path.suffix.lower()]
        encoder, options = _ENCODERS[codec]
        self._colours, self.notes = source.colours, list[str]()
        self._out = av.open(
            str(path), "w", format=container, container_options={} if container != "mp4" else {"movflags": "faststart"}
        )
        try:
            rate, base = source.rate, source.time_base
            self._video: Any = self._out.add_stream(encoder, rate=rate, time_base=base, width=width, height=height)
        except UnknownCodecError as error:
            raise UsageError(f"--codec {codec}: this build of the package av has no {encoder}; give another") from error
        self._time_base = source.time_base
        self._video.options = options | ({"crf": str(crf)} if codec in LARGEST_CRF else {})
        self._video.codec_context.sample_aspect_ratio = source.aspect
        self._format = "bgr0" if codec == "ffv1" else "yuv420p"
        if codec in ("h264", "h265", "av1") and (height % 2 or width % 2):
            self._format = "yuv444p"
            self.notes.append("odd height or width: written without halving colour resolution, which some players lack")
        self._rgb = _rgb_frame(height, width)
        self._tag(self._video.codec_context)
        self._copies = {stream.index: self._copied(stream, path.suffix) for stream in source.others}

    def _tag(self, context: Any) -> None:
        """State the meaning of the numbers, so that players need not guess."""
        context.pix_fmt, colours = self._format, self._colours
        if self._format == "bgr0":
            return
        context.color_range, context.colorspace = 1 + colours.full, colours.matrix
        context.color_primaries, context.color_trc = colours.primaries, colours.transfer

    def _copied(self, stream: "Stream", suffix: str) -> Any:
        """The stream of the result that gets its packets; None for subtitles that the container cannot hold."""
        try:
            made = self._out.add_stream_from_template(stream)
        except (ValueError, TypeError) as error:
            if stream.type == "subtitle":
                self.notes.append(f"subtitles ({stream.name}) left out: a {suffix} file cannot hold them")
                return None
            raise UsageError(
                f"a {suffix} file cannot hold the sound ({stream.name}) of the input as it is: name a .mkv file"
            ) from error
        if language := stream.metadata.get("language"):
            made.metadata["language"] = language
        return made

    def write(self, pixels: Tensor, pts: int) -> None:
        """Append a frame, 1 or 3 x height x width uint8."""
        plane = self._rgb.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(self._rgb.height, plane.line_size)  # pyright: ignore
        rows[:, : 3 * self._rgb.width] = pixels.expand(3, -1, -1).permute(1, 2, 0).flatten(1).numpy()
        options: dict[str, Any] = {"format": self._format, "interpolation": scaling_flags()}
        if self._format != "bgr0":
            options |= {"dst_colorspace": self._colours.swscale_matrix, "dst_color_range": 1 + self._colours.full}
        frame = self._rgb.reformat(**options)
        if self._format != "bgr0":
            frame.color_range, frame.colorspace = 1 + self._colours.full, self._colours.matrix
        frame.pts, frame.time_base = pts, self._time_base
        self._out.mux(self._video.encode(frame))

    def copy(self, packet: "Packet") -> None:
        """Append a packet of another stream of the source."""
        if (stream := self._copies[packet.stream.index]) is not None:
            packet.stream = stream
            self._out.mux(packet)

    def finish(self) -> None:
        """Append what the encoder still holds."""
        self._out.mux(self._video.encode(None))

    def close(self) -> None:
        """Close the file."""
        self._out.close()


def _rgb_frame(height: int, width: int) -> "VideoFrame":
    """An RGB frame to be filled in. What it is converted to has its chroma samples at the left of two pixels, where
    players expect them: FFmpeg's default lies between the two, which moves colours by half a pixel.
    """
    from av import VideoFormat, VideoFrame
    from av.filter import Graph

    graph = Graph()
    kind = VideoFormat("rgb24")
    source = graph.add_buffer(width=width, height=height, format=kind, time_base=Fraction(1, 25))
    placed, sink = graph.add("setparams", "chroma_location=left"), graph.add("buffersink")
    source.link_to(placed)
    placed.link_to(sink)
    graph.configure()
    graph.push(VideoFrame(width, height, "rgb24"))
    frame = graph.pull()
    assert isinstance(frame, VideoFrame)
    return frame


@contextmanager
def writing_errors(path: str) -> Iterator[None]:
    """Convert exceptions of PyAV while a file is written.

    Raises:
        UsageError: that `path` cannot be written.
    """
    from av.error import FFmpegError

    try:
        yield
    except (FFmpegError, OSError) as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
