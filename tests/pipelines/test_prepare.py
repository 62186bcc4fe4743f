from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from pipelines import prepare as pipeline
from tests.conftest import Answer, write_images


@pytest.fixture
def cli(command: Callable[..., Answer]) -> Callable[..., Answer]:
    return partial(command, pipeline.main)


def test_the_result_is_printed(cli, folders, tmp_path: Path) -> None:
    code, out, _ = cli(*folders, tmp_path / "out", "--workers", 1)
    assert code == 0
    assert "7 images of A, 10 images of B in 2 shards" in out


@pytest.mark.parametrize(
    "case", ["empty", "no images", "missing", "both domains", "file as out", "foreign out", "quality", "unwritable"]
)
def test_bad_input_is_one_line(cli, folders, tmp_path: Path, case: str) -> None:
    a, out, extra = folders[0], tmp_path / "out", []
    if case in ("empty", "no images"):
        a = tmp_path / "a"
        a.mkdir()
        if case == "no images":
            (a / "notes.txt").touch()
    elif case == "missing":
        a = tmp_path / "nowhere"
    elif case == "both domains":
        a = folders[1]
    elif case == "file as out":
        out.touch()
    elif case == "foreign out":
        out.mkdir()
        (out / "thesis.tex").touch()
    elif case == "unwritable":
        out = Path("/proc/out")
    else:
        extra = ["--quality", "0"]
    code, _, err = cli(a, folders[1], out, *extra)
    assert code == 2
    assert err.startswith("error: ") and err.count("\n") == 1
    assert any(word in err for word in ("give ", "choose "))


def test_skipped_files_are_reported(cli, folders, tmp_path: Path) -> None:
    a, b = folders
    frames = [Image.new("L", (8, 8), i) for i in range(12)]
    frames[0].save(a / "x.gif", save_all=True, append_images=frames[1:])
    for name in ("1.heic", "2.HEIC", "notes.txt", ".hidden"):
        (a / name).touch()
    (b / "more").symlink_to(a)
    code, _, err = cli(a, b, tmp_path / "out", "--workers", 1, "--max-bad-fraction", 0.2)
    assert code == 0
    assert f"first of 12 frames taken: {a / 'x.gif'}" in err
    assert f"skipped in {a}, not images by their names: 2 with .heic, 1 with .txt" in err
    assert f"left out {b / 'more'}: a folder, or a link to one, which is not followed" in err


def test_images_without_partners_are_refused(cli, folders: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, _, err = cli(*folders, out, "--pairs", "names")
    assert code == 2 and "0007 has no partner with its name, or several (3 such names)" in err and "--pairs some" in err
    code, printed, err = cli(*folders, tmp_path / "some", "--pairs", "some")
    assert code == 0 and "7 images of A, 10 images of B, 7 pairs in 2 shards" in printed, err
    code, _, err = cli(*folders, out, "--pairs", "halves")
    assert code == 2 and "give the folder of the double images twice" in err
    write_images(folders[0], 10)
    (folders[0] / "0003.png").write_bytes(b"no image")
    code, _, err = cli(*folders, out, "--pairs", "names")
    assert code == 2 and "so their partners have none" in err and not out.exists()
