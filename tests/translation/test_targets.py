from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cyclegan_dist.data.values import ValueRange
from cyclegan_dist.errors import UsageError
from cyclegan_dist.translation.targets import Result, file_tasks
from tests.conftest import write_images

SIXTEEN, SIGNED = ValueRange("uint16", 0, 65535), ValueRange("int16", -5, 5)
NAMES = ["a.JPG", "b.png", "c.webp", "d.bmp", "e.gif", "f.tiff", "g.ppm", "h.npy", "i.v2", "j.apng"]


def written(tmp_path: Path, name: str, result: Result) -> str:
    (tmp_path / "in").mkdir(exist_ok=True)
    source = tmp_path / "in" / name
    source.touch()
    (task,) = file_tasks(source, f"{tmp_path}/out/", result)
    return Path(task.target).relative_to(tmp_path / "out").as_posix()


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (Result(channels=3), "a.png b.png c.png d.bmp e.png f.tiff g.ppm h.npy i.v2.png j.png"),
        (Result(channels=5), "a.npy b.npy c.npy d.npy e.npy f.tiff g.npy h.npy i.v2.npy j.npy"),
        (Result(channels=1, values=SIXTEEN), "a.png b.png c.png d.png e.png f.tiff g.png h.npy i.v2.png j.png"),
        (Result(channels=3, values=SIGNED), "a.npy b.npy c.npy d.npy e.npy f.tiff g.npy h.npy i.v2.npy j.npy"),
        (Result(channels=3, extension="jpg"), "a.jpg b.jpg c.jpg d.jpg e.jpg f.jpg g.jpg h.jpg i.v2.jpg j.jpg"),
        (Result(channels=5, extension="tif"), "a.tif b.tif c.tif d.tif e.tif f.tif g.tif h.tif i.v2.tif j.tif"),
    ],
)
def test_types_of_files(tmp_path: Path, result: Result, expected: str) -> None:
    assert " ".join(written(tmp_path, name, result) for name in NAMES) == expected


@pytest.mark.parametrize(
    ("output", "result", "says"),
    [
        ("x.xyz", Result(channels=3), r"x\.xyz: no image ends so; give one of png, .* or a folder: .*x\.xyz/"),
        ("x.jpg", Result(channels=1, values=SIXTEEN), "has uint16 and 1 channels: give tif or npy"),
        ("x.jpg", Result(channels=3, extension="png"), "x.jpg and --format png differ"),
        ("out/", Result(channels=4, extension="png"), "--format png: the translation has 8 bits and 4 channels"),
        ("file", Result(channels=3), "file is a file without a suffix"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, output: str, result: Result, says: str) -> None:
    (tmp_path / "file").touch()
    source = write_images(tmp_path / "in", 1) / "0000.png"
    with pytest.raises(UsageError, match=says):
        file_tasks(source, f"{tmp_path}/{output}", result)


def test_a_folder_is_made_for_one_image(cli, snapshot: Path, tmp_path: Path) -> None:
    images = write_images(tmp_path / "in", 1, extension="jpg")
    for output in ("new", "new.v2/"):
        assert cli(snapshot, images / "0000.jpg", f"{tmp_path}/{output}")[0] == 0
        assert [path.name for path in (tmp_path / output).iterdir()] == ["0000.png"]


def test_formats_that_are_asked_for(cli, snapshot: Path, tmp_path: Path) -> None:
    """WebP is lossless, and JPEG as near as it can be."""
    images = write_images(tmp_path / "in", 1, size=32)
    written = {}
    for kind in ("png", "webp", "jpg", "tif", "npy"):
        assert cli(snapshot, images, tmp_path / kind, "--format", kind)[0] == 0
        path = tmp_path / kind / f"0000.{kind}"
        written[kind] = np.load(path) if kind == "npy" else np.asarray(Image.open(path))
    for kind in ("webp", "tif", "npy"):
        assert np.array_equal(written[kind], written["png"])
    with Image.open(tmp_path / "jpg" / "0000.jpg") as jpeg:
        assert {layer[1:3] for layer in jpeg.layer} == {(1, 1)}  # pyright: ignore[reportAttributeAccessIssue] - 4:4:4
    assert np.abs(written["jpg"].astype(int) - written["png"]).mean() < 1
