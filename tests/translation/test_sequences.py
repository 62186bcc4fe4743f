"""Numbered frames in folders: recognised, in their order, and their flicker reported."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cyclegan_dist.models.translator import Translator
from cyclegan_dist.translation.job import Task
from cyclegan_dist.translation.sequences import frame_sequences
from tests.conftest import write_images
from tests.translation.test_flicker import scene
from tests.translation.videos import write_video


def save(folder: Path, frames: np.ndarray, name: str = "frame_{}.png") -> Path:
    folder.mkdir(parents=True)
    for i, pixels in enumerate(frames):
        Image.fromarray(pixels).save(folder / name.format(i))
    return folder


@pytest.fixture
def blinking(identity: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every other translation is brighter."""
    count = 0

    def translated(self: Translator, images: list[Tensor]) -> list[Tensor]:
        nonlocal count
        made = []
        for image in images:
            count += 1
            made.append((image.float() + 6 * (-1) ** count).clamp(0, 255).to(torch.uint8))
        return made

    monkeypatch.setattr(Translator, "translate_batch", translated)
    return identity


def test_frames_are_ordered_by_number() -> None:
    names = [
        "a/f9.png",
        "a/f10.png",
        "a/f8.png",
        "a/g1.png",
        "b/x1y.png",
        "b/x3y.png",
        "b/x2y.png",
        "b/x2y.jpg",
        "b/z.png",
    ]
    tasks = [Task(source=name, target="") for name in names]
    found = [[task.source for task in frames] for frames in frame_sequences(tasks)]
    assert found == [["a/f8.png", "a/f9.png", "a/f10.png"], ["b/x1y.png", "b/x2y.png", "b/x3y.png"]]


def test_a_folder_of_frames_has_a_figure(cli, identity: Path, tmp_path: Path) -> None:
    folder = save(tmp_path / "in", scene(12, step=3, noise=2))
    code, _, err = cli(identity, folder, tmp_path / "out")
    assert code == 0 and err.count("\n") == 1
    assert (
        f"{folder / 'frame_0.png'} to frame_11.png: in what successive frames both show (9" in err
        and "(ratio 1.0)" in err
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in folder.iterdir()}


def test_flicker_of_frames_and_videos_is_warned_of(cli, blinking: Path, tmp_path: Path) -> None:
    folder = save(tmp_path / "in", scene(12, noise=1), "{:04d}.png")
    write_video(folder / "clip.mkv", scene(7), codec="ffv1", pixels="bgr0")
    code, out, err = cli(blinking, folder, tmp_path / "out")
    assert code == 0 and "12 images and 1 video of 7 frames translated" in out
    assert "0011.png flickers: the translation changes by 1" in err
    assert f"{folder / 'clip.mkv'} flickers: the translation changes by 12.0 grey levels more than the input" in err


def test_numbered_photographs_have_none(cli, blinking: Path, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "in", 14, size=32)
    code, _, err = cli(blinking, folder, tmp_path / "out")
    assert (code, err) == (0, "")


def test_frames_that_are_missing_or_of_another_size_do_not_stop_it(cli, identity: Path, tmp_path: Path) -> None:
    folder = save(tmp_path / "in", scene(12))
    (folder / "frame_4.png").write_bytes(b"no")
    Image.new("RGB", (20, 20)).save(folder / "frame_8.png")
    code, out, err = cli(identity, folder, tmp_path / "out")
    assert code == 1 and "11 images translated" in out and "left out" in err
    assert "frame_11.png: in what successive frames both show (100%)" in err and "(ratio 1.0)" in err
