"""TIFF files that are translated without being held in memory: as those that are."""

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile

from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.models.snapshot import save_snapshot
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig
from cyclegan_dist.translation import large_tiff, work
from cyclegan_dist.translation.large_tiff import open_large_tiff

LAYOUTS: dict[str, dict[str, Any]] = {
    "one strip": {},
    "big-endian": {"byteorder": ">"},
    "strips": {"compression": "zlib", "rowsperstrip": 7},
    "tiles": {"compression": "lzw", "tile": (32, 48)},
    "bands apart": {"planarconfig": "separate", "compression": "zlib", "rowsperstrip": 10},
}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Every TIFF file is large; a list of whether each one was translated as such."""
    monkeypatch.setattr(large_tiff, "LARGE", 100)
    found: list[bool] = []
    open_large = work.open_large_tiff

    def noted(path: Path, max_pixels: int) -> Any:
        with open_large_tiff(path, max_pixels) as tiff:
            found.append(tiff is not None)
        return open_large(path, max_pixels)

    monkeypatch.setattr(work, "open_large_tiff", noted)
    return found


def make_model(folder: Path, a: int, b: int, **values: dict[str, Any]) -> Path:
    config = CycleGANConfig(
        input_nc=a,
        output_nc=b,
        lambda_identity=0,
        generator=GeneratorConfig(ngf=2, n_blocks=1),
        discriminator=DiscriminatorConfig(ndf=2),
    )
    return save_snapshot(folder, CycleGAN(config).translators, config, {"nimg": 1, "values": values})


def picture(dtype: str, channels: int) -> np.ndarray:
    """75 x 101 x channels."""
    waves = np.sin(np.arange(75)[:, None, None] / 9) + np.cos(np.arange(101)[:, None] / 7 + np.arange(channels))
    return ((waves + 2) / 4 * (255 if dtype == "uint8" else 4000)).astype(dtype)


def write(path: Path, values: np.ndarray, **layout: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    if layout.get("planarconfig") == "separate":
        values = values.transpose(2, 0, 1)
    if values.shape[-1] == 1:
        values = values[..., 0]
    channels = 3 if 3 in (values.shape[-1], values.shape[0]) else 1
    if "planarconfig" not in layout and values.ndim == 3:
        layout["planarconfig"] = "contig"
    tifffile.imwrite(path, values, photometric="rgb" if channels == 3 else "minisblack", **layout)
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("dtype", "channels"), [("uint8", 3), ("uint16", 5), ("int16", 3)])
def test_it_is_what_the_whole_image_gives(
    cli, opened: list[bool], tmp_path: Path, layout: str, dtype: str, channels: int
) -> None:
    values = {} if dtype == "uint8" else {"A": {"dtype": dtype, "black": 0, "white": 4000}}
    model = make_model(tmp_path / "model", channels, 1, **values)
    image = write(tmp_path / "in" / "x.tif", picture(dtype, channels), **LAYOUTS[layout])
    for out, options in (("tiled", ["--tile", 32]), ("whole", [])):
        code, _, err = cli(model, image.parent, tmp_path / out, *options)
        assert code == 0 and err == ""
    assert opened == [True]
    tiled, whole = (tifffile.imread(tmp_path / out / "x.tif").astype(int) for out in ("tiled", "whole"))
    assert tiled.shape == whole.shape == (75, 101)
    assert np.abs(tiled - whole).max() <= 1 and (tiled != whole).mean() < 0.02


def test_values_of_the_target_and_grey_for_colour(cli, opened: list[bool], tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", 3, 4, B={"dtype": "float32", "black": 0, "white": 1})
    image = write(tmp_path / "in" / "x.tif", picture("uint8", 1))
    for out, options in (("tiled", ["--tile", 32]), ("whole", [])):
        assert cli(model, image, tmp_path / out, *options)[0] == 0
    tiled, whole = (tifffile.imread(tmp_path / out / "x.tif") for out in ("tiled", "whole"))
    assert opened == [True] and tiled.shape == (75, 101, 4) and tiled.dtype == np.float32
    assert np.abs(tiled - whole).max() < 1e-5


@pytest.mark.parametrize("what", ["small", "alpha", "turned", "cut", "other target"])
def test_others_are_read_whole_or_refused_as_ever(
    cli, opened: list[bool], tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = 4 if what == "alpha" else 3
    layout: dict[str, Any] = {"alpha": {"extrasamples": ["unassalpha"]}, "turned": {"extratags": [(274, 3, 1, 6)]}}
    image = write(tmp_path / "in" / "x.tif", picture("uint8", channels)[..., :3], **layout.get(what, {}))
    if what == "alpha":
        tifffile.imwrite(image, picture("uint8", 4), photometric="rgb", extrasamples=["unassalpha"])
    elif what == "small":
        monkeypatch.setattr(large_tiff, "LARGE", 75 * 101)
    elif what == "cut":
        image.write_bytes(image.read_bytes()[:-50])
    target = tmp_path / ("out/x.png" if what == "other target" else "out/x.tif")
    code, _, err = cli(make_model(tmp_path / "model", 3, 3), image, target, "--tile", 32)
    assert not any(opened)
    assert (code == 1 and "left out" in err) if what == "cut" else (code == 0 and err == "")


def test_a_full_disk_is_refused_before_the_work(
    cli, opened: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = write(tmp_path / "in" / "x.tif", picture("uint8", 3))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    code, _, err = cli(make_model(tmp_path / "model", 3, 3), image, tmp_path / "out", "--tile", 32)
    assert code == 2 and err.count("\n") == 1
    assert tempfile.gettempdir() in err and "GB are free: point TMPDIR elsewhere, or free space" in err
    assert list((tmp_path / "out").iterdir()) == []


def test_channels_and_values_that_do_not_fit_are_left_out(cli, opened: list[bool], tmp_path: Path) -> None:
    write(tmp_path / "in" / "dark.tif", picture("uint16", 3))
    write(tmp_path / "in" / "five.tif", picture("uint8", 5))
    code, out, err = cli(make_model(tmp_path / "model", 3, 3), tmp_path / "in", tmp_path / "out", "--tile", 32)
    assert code == 1 and "0 images translated" in out and opened == [True, True]
    assert "dark.tif: its largest value, 3999, is less than a quarter of the 65535 of 16 bits" in err
    assert "five.tif: the image has 5 channels, and direction AB takes 3" in err
    assert list((tmp_path / "out").iterdir()) == []
