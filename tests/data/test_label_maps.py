"""Preparation of label maps, and of Cityscapes as its published script does it, in a drawn folder."""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cyclegan_dist.config.palettes import open_palette
from cyclegan_dist.data.manifest import SCHEMA, open_manifest
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.reader import ShardReader
from pipelines import prepare as pipeline
from tests.conftest import Answer, write_images

PALETTE = open_palette("cityscapes")
COLOURS = np.array([*PALETTE.classes.values(), *PALETTE.ignored.values()], np.uint8)


@pytest.fixture
def cli(command: Callable[..., Answer]) -> Callable[..., Answer]:
    return partial(command, pipeline.main)


@pytest.fixture
def cityscapes(tmp_path: Path) -> Path:
    """Two cities with two photos of 300 x 150 each, and gtFine's five files for each of them."""
    rng = np.random.default_rng(0)
    for city in ("aachen", "bochum"):
        for number in range(2):
            stem = f"{city}_00000{number}_000019"
            photo = tmp_path / "leftImg8bit" / "val" / city / f"{stem}_leftImg8bit.png"
            labels = np.kron(rng.integers(0, len(COLOURS), (15, 30)), np.ones((10, 10), int))
            gt = tmp_path / "gtFine" / "val" / city
            for folder in (photo.parent, gt):
                folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (150, 300, 3), np.uint8)).resize((300, 150)).save(photo)
            opaque = np.dstack([COLOURS[labels], np.full(labels.shape, 255, np.uint8)])
            Image.fromarray(opaque).save(gt / f"{stem}_gtFine_color.png")
            for kind in ("labelIds", "instanceIds"):
                Image.fromarray(labels.astype(np.uint8)).save(gt / f"{stem}_gtFine_{kind}.png")
            (gt / f"{stem}_gtFine_polygons.json").write_text("{}")
    return tmp_path


def stored(folder: Path, domain: str) -> dict[str, bytes]:
    """Bytes of the images of a domain by name."""
    manifest = open_manifest(str(folder), SCHEMA.names)
    reader, rows = ShardReader(manifest, domain), manifest.domains[domain].to_pylist()
    return {row["name"]: reader.read(i) for i, row in enumerate(rows)}


def test_cityscapes_is_prepared_as_by_the_published_script(cli, cityscapes: Path) -> None:
    parts = [cityscapes / kind / "val" for kind in ("leftImg8bit", "gtFine")]
    code, out, err = cli(*parts, cityscapes / "out", "--pairs", "cityscapes", "--workers", 1)
    assert code == 0 and "4 images of A, 4 images of B" in out, err
    photos, maps = (stored(cityscapes / "out", domain) for domain in "AB")
    assert open_manifest(str(cityscapes / "out")).paired
    assert (
        sorted(photos)
        == sorted(maps)
        == [f"{city}/{city}_00000{i}_000019.png" for city in ("aachen", "bochum") for i in range(2)]
    )
    for name, data in photos.items():
        source = parts[0] / name.replace(".png", "_leftImg8bit.png")
        buffer = io.BytesIO()
        with Image.open(source) as image:
            image.convert("RGB").resize((256, 256)).save(buffer, "JPEG", quality=100, subsampling=0)
        assert data == buffer.getvalue()
        with Image.open(parts[1] / name.replace(".png", "_gtFine_color.png")) as image:
            expected = np.asarray(image.convert("RGB").resize((256, 256), Image.Resampling.NEAREST))
        assert (np.asarray(Image.open(io.BytesIO(maps[name]))) == expected).all()


def test_a_part_of_cityscapes_with_its_colour_maps_is_needed(cli, cityscapes: Path) -> None:
    photos, maps, out = (cityscapes / name for name in ("leftImg8bit", "gtFine", "out"))
    for folders, expected in (
        (
            (photos, maps / "val"),
            f"{photos} is no part of Cityscapes with files *_leftImg8bit.png: give leftImg8bit/train",
        ),
        ((photos / "val", photos / "val"), "no part of Cityscapes with files *_gtFine_color.png: give gtFine/train"),
    ):
        code, _, err = cli(*folders, out, "--pairs", "cityscapes")
        assert code == 2 and expected in err and err.count("\n") == 1
    next((maps / "val" / "aachen").glob("*_color.png")).unlink()
    code, _, err = cli(photos / "val", maps / "val", out, "--pairs", "cityscapes")
    assert code == 2 and "has no partner with its name" in err and not out.exists()


def test_label_maps_keep_exact_colours_and_their_size_if_wanted(tmp_path: Path) -> None:
    """JPEG maps, as those of the facades: the colours are the palette's again."""
    rng = np.random.default_rng(0)
    (tmp_path / "B").mkdir()
    labels = np.kron(rng.integers(0, 19, (8, 12)), np.ones((8, 8), int))
    Image.fromarray(COLOURS[labels]).save(tmp_path / "B" / "0000.jpg", quality=90, subsampling=0)
    write_images(tmp_path / "A", 1, size=64)
    found = {}
    for full in (False, True):
        config = PrepareConfig(
            *(tmp_path / name for name in ("A", "B", f"out{full}")),
            load_size=16,
            pairs="names",
            palette="cityscapes",
            full_size_labels=full,
            workers=1,
        )
        prepare(config, palette=PALETTE)
        found[full] = np.asarray(Image.open(io.BytesIO(stored(config.out, "B")["0000.jpg"])))
        assert Image.open(io.BytesIO(stored(config.out, "A")["0000.png"])).size == (16, 16)
        assert {tuple(c) for c in found[full].reshape(-1, 3).tolist()} <= {tuple(c) for c in COLOURS.tolist()}
    assert found[False].shape == (16, 24, 3) and found[True].shape == (64, 96, 3)
    assert (found[True] == COLOURS[labels]).all(-1).mean() > 0.95


def test_wrong_palettes_are_one_line(cli, tmp_path: Path) -> None:
    a, b = write_images(tmp_path / "A", 3), write_images(tmp_path / "B", 3)
    for options, expected in (
        (("--palette", "cityscapes"), "is no label map of this palette"),
        (("--palette", "cityscape"), "no palette 'cityscape': did you mean cityscapes?"),
        (("--full-size-labels",), "--full-size-labels: give the --palette of the label maps"),
    ):
        code, _, err = cli(a, b, tmp_path / "out", *options)
        assert code == 2 and expected in err and err.count("\n") == 1 and not (tmp_path / "out").exists()
