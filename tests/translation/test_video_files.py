"""Folders of videos through `translate`: interrupted, repeated, damaged, or not to be written."""

import re
from pathlib import Path

import pytest

from cyclegan_dist.models.translator import Translator
from cyclegan_dist.translation import video_kinds
from pipelines import translate
from tests.conftest import write_images
from tests.translation.conftest import contents
from tests.translation.videos import packets, read_video, smooth, write_video


def test_a_folder_of_images_and_videos(cli, identity: Path, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "in", 2)
    write_video(folder / "a.mp4", smooth(3))
    (folder / "deep").mkdir()
    write_video(folder / "deep" / "b.avi", smooth(4), codec="mpeg4", sound="pcm_s16le")
    code, out, err = cli(identity, folder, tmp_path / "out", "--batch-size", 2)
    assert code == 0, err
    assert "2 images and 2 videos of 7 frames translated" in out
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert found == ["0000.png", "0001.png", "a.mp4", "deep/b.mkv"]
    assert b"".join(packets(tmp_path / "out" / "deep" / "b.mkv")) == b"".join(packets(folder / "deep" / "b.avi"))
    assert len(read_video(tmp_path / "out" / "deep" / "b.mkv")[0]) == 4


def test_an_interrupted_folder_is_resumed_by_video(
    cli, identity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "b"):
        write_video(folder / f"{name}.mp4", smooth(4))
    translated, calls = Translator.translate_batch, list[int]()

    def interrupted(self: Translator, images: list) -> list:
        calls.append(len(images))
        if len(calls) == 6:  # in the middle of the second
            raise KeyboardInterrupt
        return translated(self, images)

    monkeypatch.setattr(Translator, "translate_batch", interrupted)
    assert cli(identity, folder, tmp_path / "out")[0] == 130
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".translation.json", "a.mp4"]
    code, out, _ = cli(identity, folder, tmp_path / "out")
    assert code == 0 and "1 video of 4 frames translated" in out and "1 files done before" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.mp4", "b.mp4"]


def test_a_video_is_replaced_on_demand_only(cli, identity: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    video, out = write_video(tmp_path / "in" / "x.mp4", smooth(2)), tmp_path / "out"
    assert cli(identity, video, out / "x.mp4")[0] == 0
    before = contents(out)
    for source, target in ((video, out / "x.mp4"), (video, out), (video.parent, out)):
        code, said, err = cli(identity, source, target)
        assert (code, said) == (2, "") and contents(out) == before
        assert f"{out}/x.mp4 is there already: choose another OUTPUT, or pass --overwrite" in err
    assert cli(identity, video, out, "--overwrite")[0] == 0


def test_a_damaged_video_is_left_out_and_the_old_result_stays(cli, identity: Path, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "in", 1)
    (folder / "no.mp4").write_bytes(b"#EXTM3U\nhttp://127.0.0.1/x.ts\n")
    (folder / "sound.mkv").write_bytes(b"")
    write_video(folder / "large.mp4", smooth(2, 64, 64))
    out = tmp_path / "out"
    out.mkdir()
    (out / "no.mp4").write_bytes(b"old")
    code, said, err = cli(identity, folder, out, "--max-megapixels", 0.004, "--overwrite")
    assert code == 1 and "1 images translated" in said
    assert "the exit code is 1" in (translate.__doc__ or "").replace("\n", " ")
    assert "no.mp4: no video that can be read" in err and "sound.mkv: no video" in err
    assert "large.mp4: its frames have 0.0 megapixels, above the limit of 0.004: raise --max-megapixels" in err
    assert (out / "no.mp4").read_bytes() == b"old" and not (out / "large.mp4").exists()


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("x.avi", [], "x.avi: no video that can be written ends so; give .mp4, .m4v, .mov, .mkv, .webm, or a folder"),
        ("x.webm", ["--codec", "h264"], "--codec h264: a .webm file holds vp9, av1"),
        ("x.mp4", ["--codec", "ffv1"], "--codec ffv1: a .mp4 file holds h264, h265, av1, vp9"),
        ("x.mp4", ["--crf", 52], "--crf 52: give 0 to 51"),
        ("x.mp4", ["--format", "png"], "--format png is for images"),
        ("x.webm", [], "a .webm file cannot hold the sound (aac) of the input as it is: name a .mkv file"),
        ("/proc/x.mp4", [], "cannot write /proc/x.mp4"),
        ("in.mp4", [], "would overwrite the input"),
    ],
)
def test_what_cannot_be_written_is_one_line(
    cli, identity: Path, tmp_path: Path, name: str, arguments: list, says: str
) -> None:
    video = write_video(tmp_path / "in.mp4", smooth(2), sound="aac")
    before = sorted(tmp_path.rglob("*"))
    code, _, err = cli(identity, video, tmp_path / name, *arguments)
    assert code == 2 and says in err and err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_missing_package_is_one_line(cli, identity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.mp4").write_bytes(b"")
    monkeypatch.setattr(video_kinds.importlib.util, "find_spec", lambda name: None)
    code, _, err = cli(identity, tmp_path / "in.mp4", tmp_path / "x.mp4")
    assert code == 2 and err == "error: video files need the package av: pip install 'cyclegan_dist[video]'\n"


def test_without_the_package_the_images_beside_videos_are_translated(
    cli, identity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write_images(tmp_path / "in", 1)
    (images / "ride.mp4").write_bytes(b"")
    monkeypatch.setattr(video_kinds.importlib.util, "find_spec", lambda name: None)
    code, _, err = cli(identity, images, tmp_path / "out")
    assert code == 0 and re.search(r"left out 1 video of .*in: video files need the package av: pip install", err)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0000.png"]
    (images / "0000.png").unlink()
    code, _, err = cli(identity, images, tmp_path / "none")
    assert code == 2 and err.startswith("error: video files need the package av")
