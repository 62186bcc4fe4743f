"""Small videos for tests, and their frames."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from cyclegan_dist.translation.video_reading import open_video


def smooth(count: int, height: int = 48, width: int = 64, speed: int = 2) -> np.ndarray:
    """Waves of all colours that move to the right: count x height x width x 3, uint8. Halving colour resolution keeps
    them within a few grey levels.
    """
    t, y, x = np.ogrid[:count, :height, :width]
    x = x - speed * t
    waves = [np.sin(x / 17) + 0 * y, np.cos(y / 13) + 0 * x, np.sin((x + y) / 19)]
    return (120 + 90 * np.stack(waves, -1)).round().astype(np.uint8)


def write_video(
    path: Path,
    frames: np.ndarray,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    matrix: int = 1,
    full: bool = False,
    tags: bool = True,
    times: Sequence[int] | None = None,
    base: Fraction = Fraction(1, 1000),
    rate: int = 25,
    rotation: int | None = None,
    sound: str = "",
    aspect: Fraction | None = None,
    transfer: int = 1,
    fast_start: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """A lossless video; `times` in units of `base`, `matrix` in the codes of H.273."""
    flags = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    fast = {"movflags": "faststart"} if fast_start and path.suffix == ".mp4" else {}
    with av.open(str(path), "w", container_options=fast) as out:
        lossless = {"libx264": {"crf": "0", "preset": "ultrafast"}, "libvpx-vp9": {"lossless": "1", "cpu-used": "8"}}
        kind: Any = {"rate": rate, "width": frames.shape[2], "height": frames.shape[1]}
        stream: Any = out.add_stream(codec, **kind, **({"time_base": base} if times is not None else {}))
        stream.options = options if options is not None else lossless.get(codec, {})
        stream.pix_fmt = pixels
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if tags and pixels != "bgr0":
            stream.codec_context.color_range, stream.codec_context.colorspace = 1 + full, matrix
            stream.codec_context.color_primaries, stream.codec_context.color_trc = 1, transfer
        audio: Any = out.add_stream(sound, rate=48000) if sound else None
        if audio is not None:
            audio.layout = "mono"
        to = {"dst_color_range": ColorRange.JPEG if full else ColorRange.MPEG} if pixels != "bgr0" else {}
        for i, pixel in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixel, "rgb24")
            if pixels != "bgr0":
                to["dst_colorspace"] = {1: Colorspace.ITU709, 6: Colorspace.ITU601, 9: Colorspace.BT2020}[matrix]
            frame = frame.reformat(format=pixels, interpolation=flags, **to)
            if times is not None:
                frame.pts, frame.time_base = times[i], base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if audio is not None:
            tone = np.sin(np.arange(48000 * len(frames) // rate) / 20).astype(np.float32)[None]
            wave = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
            wave.sample_rate, wave.pts = 48000, 0
            resampler = av.AudioResampler(
                audio.codec_context.format, "mono", 48000, audio.codec_context.frame_size or 1024
            )
            for part in [*resampler.resample(wave), *resampler.resample(None), None]:
                out.mux(audio.encode(part))
    return path


def read_video(path: Path) -> tuple[np.ndarray, list[Fraction]]:
    """Frames, count x height x width x 3, and times in seconds."""
    with open_video(path, 10**9) as source:
        frames = [item for item in source if hasattr(item, "pixels")]
        times = [frame.pts * source.time_base for frame in frames]
    return np.stack([frame.pixels.permute(1, 2, 0).numpy() for frame in frames]), times


def packets(path: Path, kind: str = "audio") -> list[bytes]:
    """The bytes of all packets of the first stream of a kind."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(**{kind: 0}) if packet.size]
