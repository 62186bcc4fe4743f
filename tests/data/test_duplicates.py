"""Duplicates that `prepare --dedup` and `--exclude` leave out."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from cyclegan_dist.data.duplicates import BLOCK, NEAR, Fingerprint, find_duplicates
from cyclegan_dist.data.manifest import SCHEMA, open_manifest
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from pipelines import prepare as pipeline
from tests.conftest import Answer, write_images


@pytest.fixture
def cli(command: Callable[..., Answer]) -> Callable[..., Answer]:
    return partial(command, pipeline.main)


def photo(seed: int) -> Image.Image:
    """Soft shapes, as JPEG is made for."""
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((96, 96), Image.Resampling.BICUBIC).filter(ImageFilter.SMOOTH)


@pytest.fixture
def photos(tmp_path: Path) -> tuple[Path, Path]:
    """Six photos of A, and of them a copy in PNG, one of another quality and a smaller one; six of B."""
    for domain, first in (("A", 0), ("B", 100)):
        (tmp_path / domain).mkdir()
        for number in range(6):
            photo(first + number).save(tmp_path / domain / f"{number}.png")
    photo(0).save(tmp_path / "A" / "copy.tiff")
    photo(1).save(tmp_path / "A" / "quality.jpg", quality=60)
    photo(2).resize((48, 48), Image.Resampling.LANCZOS).save(tmp_path / "A" / "small.jpg", quality=95, subsampling=0)
    return tmp_path / "A", tmp_path / "B"


def names(out: Path, domain: str = "A") -> list[str]:
    return sorted(open_manifest(str(out), SCHEMA.names).domains[domain]["name"].to_pylist())


def test_copies_are_dropped_and_listed(cli, photos, tmp_path: Path) -> None:
    a = photos[0]
    code, out, err = cli(*photos, tmp_path / "out", "--dedup", "--workers", 1)
    assert code == 0 and "6 images of A, 6 images of B" in out, err
    assert names(tmp_path / "out") == [f"{number}.png" for number in range(6)]
    assert f"dropped {a}/copy.tiff: the same pixels as {a}/0.png" in err
    assert f"dropped {a}/quality.jpg: nearly the same image as {a}/1.png" in err
    assert f"dropped {a}/small.jpg: nearly the same image as {a}/2.png" in err
    assert "A: 3 duplicates dropped, 1 with the same pixels and 2 nearly the same" in err
    assert "B: 0 duplicates dropped" in err
    code, out, _ = cli(*photos, tmp_path / "all", "--workers", 1)
    assert "9 images of A" in out


@pytest.mark.parametrize("kind", ["data set", "both"])
def test_images_of_another_set_are_excluded(cli, photos, tmp_path: Path, kind: str) -> None:
    a, b = photos
    for number, source in enumerate((a / "0.png", b / "5.png")):
        target = write_images(tmp_path / f"test{number}", 2, size=96, seed=7) / source.name
        target.write_bytes(source.read_bytes())
    prepare(PrepareConfig(tmp_path / "test0", tmp_path / "test1", tmp_path / "test", load_size=64, workers=1))
    folders = f"{tmp_path}/test0,{tmp_path}/test1"
    given = f"{tmp_path}/test" if kind == "data set" else f"{folders},{tmp_path}/test"
    code, out, err = cli(*photos, tmp_path / "out", "--exclude", given, "--workers", 1)
    assert code == 0 and "7 images of A, 5 images of B" in out, err
    assert names(tmp_path / "out") == ["1.png", "2.png", "3.png", "4.png", "5.png", "quality.jpg", "small.jpg"]
    where = f"nearly the same image as {tmp_path}/test A/0.png"
    if kind != "data set":
        where = f"the same pixels as {tmp_path}/test0/0.png"
    assert f"excluded {a}/0.png: {where}" in err
    assert "A: 2 of 9 images excluded, which are in " in err


def test_what_cannot_be_done_is_one_line(cli, photos, tmp_path: Path) -> None:
    for options, reason in (
        (["--dedup", "--pairs", "names"], "--dedup would leave images without their partners"),
        (["--exclude", photos[0], "--pairs", "halves"], "--exclude would leave images without their partners"),
        (["--exclude", tmp_path / "nowhere"], "nowhere is not a folder"),
        (["--exclude", photos[0]], f"no image of {photos[0]} is left: all are in {photos[0]} too"),
    ):
        code, _, err = cli(*photos, tmp_path / "out", "--workers", 1, *options)
        assert code == 2 and err.splitlines()[-1].startswith("error: ") and reason in err, err
        assert not (tmp_path / "out").exists()


def images(count: int, seed: int = 0) -> list[Fingerprint]:
    rng = np.random.default_rng(seed)
    thumbnails = rng.integers(0, 256, (count, 768), dtype=np.uint8)
    return [
        Fingerprint(f"{i:05d}", bytes([i % 256, i // 256]), 64, thumbnail) for i, thumbnail in enumerate(thumbnails)
    ]


def changed(image: Fingerprint, name: str, by: float) -> Fingerprint:
    """The same image with all values further from grey or closer to it by so many levels."""
    up = np.where(np.arange(768) % 2, by, -by)
    thumbnail = np.clip(image.thumbnail + up, 0, 255).astype(np.uint8)
    return Fingerprint(name, name.encode(), image.pixels, thumbnail)


def test_the_result_does_not_depend_on_the_order_or_on_blocks() -> None:
    some = images(BLOCK + 40)
    copies = [changed(some[i], f"copy{i}", 1) for i in (3, BLOCK + 3)]
    copies += [Fingerprint("same", some[9].sha256, 64, some[9].thumbnail)]
    found = find_duplicates([*some, *copies])
    assert [(one.name, one.of, one.exact) for one in found] == [
        ("copy3", "00003", False),
        (f"copy{BLOCK + 3}", f"{BLOCK + 3:05d}", False),
        ("same", "00009", True),
    ]
    shuffled = [[*some, *copies][i] for i in np.random.default_rng(1).permutation(len(some) + 3)]
    assert find_duplicates(shuffled) == found


def test_what_is_further_away_is_kept_and_flat_images_must_be_closer() -> None:
    (one,) = images(1)
    assert not find_duplicates([one, changed(one, "x", 2 * NEAR)])
    flat = Fingerprint("flat", b"flat", 64, np.full(768, 100, np.uint8))
    assert not find_duplicates([flat, changed(flat, "x", 2)])  # for a photo this would be near
    assert find_duplicates([one, changed(one, "x", 2)])


def test_of_several_copies_the_largest_is_kept() -> None:
    (one,) = images(1)
    large = Fingerprint("z", b"z", 640, one.thumbnail)
    assert [found.name for found in find_duplicates([one, large])] == ["00000"]


def test_a_folder_that_is_excluded_may_have_the_name_of_a_domain(cli, photos, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path / "tests")
    (write_images(Path("A"), 2, size=96) / "x.png").write_bytes((photos[1] / "3.png").read_bytes())
    code, out, err = cli(*photos, tmp_path / "out", "--exclude", "A", "--workers", 1)
    assert code == 0 and "9 images of A, 5 images of B" in out, err
