"""Video files through `translate`: what a generator that changes nothing gives back, and what is refused."""

import io
import json
import re
import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from rich.console import Console

from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.models.translator import Translator
from pipelines import translate
from tests.conftest import write_images
from tests.translation.conftest import make_snapshot
from tests.translation.videos import packets, read_video, smooth, write_video


def differences(one: np.ndarray, other: np.ndarray) -> tuple[float, int]:
    """Mean and largest absolute difference."""
    assert one.shape == other.shape
    found = np.abs(one.astype(int) - other)
    return float(found.mean()), int(found.max())


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("full", [False, True])
def test_colours_times_and_sound_come_back(cli, identity: Path, tmp_path: Path, matrix: int, full: bool) -> None:
    times = [0, 40, 80, 200, 210, 500, 1000]
    video = write_video(tmp_path / "in.mp4", smooth(7), matrix=matrix, full=full, times=times, sound="aac")
    code, out, _ = cli(identity, video, tmp_path / "out" / "x.mp4", "--crf", 0, "--batch-size", 3)
    assert code == 0 and "1 video of 7 frames translated" in out
    before, now = read_video(video), read_video(tmp_path / "out" / "x.mp4")
    assert now[1] == before[1] == [Fraction(time, 1000) for time in times]
    mean, largest = differences(now[0], before[0])
    assert (mean < 0.9 and largest <= 4) if full else (mean < 0.1 and largest <= 2)  # FFmpeg's scaler is less exact
    assert differences(before[0], smooth(7))[0] < 1.5  # read with the right matrix and range
    assert packets(tmp_path / "out" / "x.mp4") == packets(video) != []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x.mp4"]  # no draft
    with av.open(str(tmp_path / "out" / "x.mp4")) as made:
        context = made.streams.video[0].codec_context
        assert (context.color_range, context.colorspace) == (1 + full, matrix)
        assert context.color_primaries == context.color_trc == 1


@pytest.mark.parametrize(
    ("suffix", "codec", "worst"), [(".webm", "auto", 3), (".mkv", "ffv1", 0), (".mkv", "h265", 2), (".mp4", "av1", 3)]
)
def test_other_codecs(cli, identity: Path, tmp_path: Path, suffix: str, codec: str, worst: float) -> None:
    video = write_video(tmp_path / "in.mkv", smooth(3), codec="ffv1", pixels="bgr0")
    made = tmp_path / f"out{suffix}"
    code, _, err = cli(identity, video, made, "--codec", codec, "--crf", 0 if codec == "ffv1" else 5)
    assert code == 0, err
    assert differences(read_video(made)[0], smooth(3))[0] <= worst


@pytest.mark.parametrize(("codec", "pixels"), [("ffv1", "bgr0"), ("ffv1", "yuv420p"), ("libvpx-vp9", "yuv420p")])
def test_an_odd_size_is_kept(cli, identity: Path, tmp_path: Path, codec: str, pixels: str) -> None:
    video = write_video(tmp_path / "in.mkv", smooth(3, 45, 61), codec=codec, pixels=pixels)
    code, _, err = cli(identity, video, tmp_path / "x.mp4", "--crf", 0)
    assert code == 0 and "odd height or width" in err
    mean, largest = differences(read_video(tmp_path / "x.mp4")[0], read_video(video)[0])
    assert mean < 0.8 and largest <= 3


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_frames_are_upright(cli, identity: Path, tmp_path: Path, rotation: int) -> None:
    """Generators are trained on upright images; the result needs no rotation."""
    frames = smooth(2)
    video = write_video(tmp_path / "in.mp4", frames, rotation=rotation)
    assert cli(identity, video, tmp_path / "x.mp4", "--crf", 0)[0] == 0
    with av.open(str(tmp_path / "x.mp4")) as made:
        shown = [(frame.rotation, frame.to_ndarray(format="rgb24")) for frame in made.decode(video=0)]
    assert [turn for turn, _ in shown] == [0, 0]
    upright = np.rot90(frames, rotation // 90, axes=(1, 2))
    assert differences(np.stack([pixels for _, pixels in shown]), upright)[0] < 4


def test_a_size_that_is_no_multiple_of_four_and_a_network(cli, tmp_path: Path) -> None:
    """With a real generator: each frame is the translation of that frame as an image."""
    video = write_video(tmp_path / "in.mkv", smooth(3, 46, 62), codec="ffv1", pixels="bgr0")
    model = make_snapshot(tmp_path / "model")
    assert cli(model, video, tmp_path / "x.mkv", "--codec", "ffv1")[0] == 0
    translator = Translator(Snapshot.open(model), "AB", "cpu")
    assert np.array_equal(
        read_video(tmp_path / "x.mkv")[0], [translator.translate(frame) for frame in smooth(3, 46, 62)]
    )


def test_frames_are_resized_as_images_are(cli, identity: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "in.mp4", smooth(2))
    code, _, _ = cli(identity, video, tmp_path / "x.mp4", "--preprocess", "resize_and_crop", "--crop-size", 32)
    assert code == 0 and read_video(tmp_path / "x.mp4")[0].shape == (2, 32, 32, 3)


def test_memory_does_not_grow_with_the_length(cli, identity: Path, tmp_path: Path) -> None:
    """What Python and numpy hold at most; what FFmpeg holds is bounded by its own buffers."""
    peaks = []
    for count in (8, 60):
        video = write_video(tmp_path / f"{count}.mp4", smooth(count))
        tracemalloc.start()
        assert cli(identity, video, tmp_path / f"{count}.mkv")[0] == 0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def with_more_streams(path: Path, source: Path, delay: Fraction = Fraction(0)) -> Path:
    """The streams of `source`, its sound once more in another language and `delay` seconds later, and a subtitle."""
    with av.open(str(source)) as base, av.open(str(path), "w") as out:
        video, audio = base.streams.video[0], base.streams.audio[0]
        copies = {video: [out.add_stream_from_template(video, opaque=True)]}
        copies[audio] = [out.add_stream_from_template(audio), out.add_stream_from_template(audio)]
        for stream, language in zip(copies[audio], ("ger", "fre"), strict=True):
            stream.metadata["language"] = language
        text: Any = out.add_mux_stream("subrip")
        for packet in base.demux(video, audio):
            for later, stream in enumerate(copies[packet.stream]):
                copied = av.Packet(bytes(packet))
                if packet.size and packet.pts is not None and packet.dts is not None and packet.time_base:
                    ticks = round(later * delay / packet.time_base)
                    copied.pts, copied.dts, copied.time_base = packet.pts + ticks, packet.dts + ticks, packet.time_base
                    copied.is_keyframe, copied.stream = packet.is_keyframe, stream
                    copied.duration = packet.duration
                    out.mux(copied)
        line = av.Packet(b"Hello")
        line.pts = line.dts = 0
        line.duration, line.time_base, line.stream = 100, Fraction(1, 1000), text
        out.mux(line)
    return path


def start_times(path: Path) -> list[float]:
    """Of the first packet of each stream, relative to the first of all."""
    with av.open(str(path)) as container:
        first: dict[int, float] = {}
        for packet in container.demux():
            if packet.pts is not None and packet.time_base is not None:
                first.setdefault(packet.stream.index, float(packet.pts * packet.time_base))
    return [round(first[index] - min(first.values()), 2) for index in sorted(first)]


def test_all_sound_tracks_and_subtitles(cli, identity: Path, tmp_path: Path) -> None:
    base = write_video(tmp_path / "base.mkv", smooth(10), sound="aac")
    video = with_more_streams(tmp_path / "in.mkv", base, delay=Fraction(1, 10))
    code, _, err = cli(identity, video, tmp_path / "x.mkv")
    assert code == 0 and "subtitles" not in err
    with av.open(str(tmp_path / "x.mkv")) as made:
        assert [stream.metadata.get("language") for stream in made.streams.audio] == ["ger", "fre"]
    assert packets(tmp_path / "x.mkv", "subtitles") == packets(video, "subtitles") == [b"Hello"]
    assert packets(tmp_path / "x.mkv") == packets(video)
    assert start_times(tmp_path / "x.mkv") == start_times(video)
    assert start_times(video)[2] - start_times(video)[1] == pytest.approx(0.1, abs=0.02)
    code, _, err = cli(identity, video, tmp_path / "x.mp4")
    assert code == 0 and "subtitles (srt) left out: a .mp4 file cannot hold them" in err


@pytest.mark.parametrize("rotation", [None, 90])
def test_pixels_that_are_not_square(cli, identity: Path, tmp_path: Path, rotation: int | None) -> None:
    video = write_video(tmp_path / "in.mp4", smooth(2), rotation=rotation, aspect=Fraction(4, 3))
    assert cli(identity, video, tmp_path / "x.mp4")[0] == 0
    with av.open(str(tmp_path / "x.mp4")) as made:
        assert made.streams.video[0].sample_aspect_ratio == (Fraction(3, 4) if rotation else Fraction(4, 3))


def test_more_bits_and_high_dynamic_range_are_noted(cli, identity: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "in.mkv", smooth(2), codec="ffv1", pixels="yuv420p10le", transfer=18)
    code, _, err = cli(identity, video, tmp_path / "x.mp4", "--crf", 0)
    assert code == 0 and "more than 8 bits: written with 8" in err and "high dynamic range (HLG)" in err
    assert differences(read_video(tmp_path / "x.mp4")[0], read_video(video)[0])[0] < 0.8


def test_a_model_of_other_images_is_refused(cli, tmp_path: Path) -> None:
    video = write_video(tmp_path / "in.mp4", smooth(2))
    card = make_snapshot(tmp_path / "model") / "card.json"
    values = {"B": {"dtype": "uint16", "black": 0, "white": 4095}}
    card.write_text(json.dumps(json.loads(card.read_text()) | {"values": values}))
    code, _, err = cli(tmp_path / "model", video, tmp_path / "x.mp4")
    assert code == 2 and "videos hold colour or grey of 8 bits, which this model does not" in err
    assert not (tmp_path / "x.mp4").exists()
    video.rename(write_images(tmp_path / "in", 1) / "in.mp4")
    code, _, err = cli(tmp_path / "model", tmp_path / "in", tmp_path / "out")
    assert code == 2 and "videos hold colour or grey of 8 bits, which this model does not" in err
    assert not (tmp_path / "out").exists()  # refused before any image was translated


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_video_that_is_cut_off_is_noted(cli, identity: Path, tmp_path: Path, suffix: str) -> None:
    """FFmpeg takes the end of such a file for the end of the video."""
    video = write_video(tmp_path / f"in{suffix}", smooth(40), fast_start=True)
    video.write_bytes(video.read_bytes()[: -video.stat().st_size // 3])
    code, _, err = cli(identity, video, tmp_path / "x.mp4")
    assert (code == 0 and "of about 40 frames: it may be cut off" in err) or (code == 1 and "damaged after" in err)


def test_progress_counts_frames(cli, identity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    monkeypatch.setattr(translate, "CONSOLE", console)
    folder = write_images(tmp_path / "in", 2)
    write_video(folder / "a.mp4", smooth(5))
    assert cli(identity, folder, tmp_path / "out")[0] == 0
    shown = console.file.getvalue()
    assert "100%" in shown and "images/s" in shown and re.search(r"\d:\d\d:\d\d", shown)
