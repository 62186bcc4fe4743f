"""Images of more than 8 bits through `translate`: what a generator that changes nothing gives back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.models.snapshot import Snapshot, save_snapshot
from cyclegan_dist.models.translator import Translator
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig
from tests.conftest import write_images
from tests.translation.conftest import Identity

TWELVE_BITS = {"dtype": "uint16", "black": 0, "white": 4095}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make a snapshot of identities; arguments: channels, and the value ranges of both domains."""
    monkeypatch.setattr(Snapshot, "generator", lambda *_: Identity())

    def make(
        channels: int = 3,
        *,
        a: dict[str, Any] | None = None,
        b: dict[str, Any] | None = None,
        bands: dict[str, list[int]] | None = None,
    ) -> Path:
        config = CycleGANConfig(
            input_nc=channels,
            output_nc=channels,
            generator=GeneratorConfig(ngf=2, n_blocks=0),
            discriminator=DiscriminatorConfig(ndf=2),
        )
        values = {domain: found for domain, found in (("A", a), ("B", b)) if found}
        return save_snapshot(
            tmp_path / "model",
            CycleGAN(config).translators,
            config,
            {"nimg": 1, **({"values": values} if values else {}), **({"bands": bands} if bands else {})},
        )

    return make


def noise(dtype: str, low: float, high: float, channels: int) -> np.ndarray:
    """20 x 24 x channels, or 20 x 24 of one."""
    values = np.random.default_rng(0).uniform(low, high, (20, 24, channels)).astype(dtype)
    values.flat[:2] = low, high
    return values[..., 0] if channels == 1 else values


def write(path: Path, values: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".png":
        path.write_bytes(bytes(imagecodecs.png_encode(values)))
    else:
        kind = "rgb" if values.shape[2:] == (3,) else "minisblack"
        tifffile.imwrite(path, values, photometric=kind, planarconfig="contig" if values.ndim == 3 else None)
    return path


def read(path: Path) -> np.ndarray:
    readers = {".npy": np.load, ".tif": tifffile.imread, ".png": lambda file: imagecodecs.png_decode(file.read_bytes())}
    return readers[path.suffix](path)


@pytest.mark.parametrize(
    ("suffix", "dtype", "low", "high", "channels"),
    [
        (".png", "uint16", 0, 4095, 1),
        (".png", "uint16", 0, 65535, 3),
        (".tif", "uint16", 0, 4095, 1),
        (".tif", "uint16", 100, 65535, 3),
        (".tif", "uint16", 0, 10_000, 5),
        (".tif", "int16", -1024, 3071, 1),
        (".npy", "uint16", 0, 10_000, 4),
        (".npy", "int32", -100_000, 100_000, 1),
        (".npy", "float32", -0.5, 2.5, 3),
        (".tif", "float32", 0, 0.01, 1),
    ],
)
def test_values_come_back(
    cli, model: Callable[..., Path], tmp_path: Path, suffix: str, dtype: str, low: float, high: float, channels: int
) -> None:
    values = {"dtype": dtype, "black": low, "white": high}
    original = noise(dtype, low, high, channels)
    path = write(tmp_path / f"x{suffix}", original)
    code, _, err = cli(model(channels, a=values, b=values), path, tmp_path / "out")
    assert code == 0 and err == ""
    (written,) = (tmp_path / "out").iterdir()
    answer = read(written)
    if suffix == ".npy" and channels == 1:
        answer = answer[..., 0]  # always H x W x C
    assert (written.name, answer.dtype, answer.shape) == (path.name, original.dtype, original.shape)
    unit = 0.5 if np.issubdtype(answer.dtype, np.integer) else 1e-6 * (high - low)
    assert np.abs(answer.astype(float) - original).max() <= unit
    array = Translator(Snapshot.open(tmp_path / "model"), device="cpu").translate(original)
    assert array.dtype == original.dtype and np.array_equal(array.reshape(answer.shape), answer)


def test_bits_of_a_domain_of_eight(cli, model: Callable[..., Path], tmp_path: Path) -> None:
    """A model trained on 8 bits: read by the type's range, or by the one that is given, and written with 8."""
    images = tmp_path / "in"
    images.mkdir()
    ramp = np.linspace(0, 65535, 480).round().astype(np.uint16).reshape(20, 24)
    for name in ("a.png", "b.tif"):
        write(images / name, ramp)
    write(images / "dark.png", ramp // 20)
    write(images / "f.npy", (ramp / 65535).astype(np.float32))
    snapshot = model(1)
    code, out, err = cli(snapshot, images, tmp_path / "out")
    assert code == 1 and "2 images translated" in out
    assert "dark.png: its largest value, 3276, is less than a quarter of the 65535 of 16 bits: give white" in err
    assert "f.npy: values of float32 have no known range: give white" in err
    assert err.count("2 images: more than 8 bits, of which 0 is black and the largest value of their bits white") == 1
    for name in ("a.png", "b.tif"):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / name)), np.rint(ramp / 257))
    code, _, err = cli(snapshot, images / "dark.png", tmp_path / "dark.png", "--white", 3276)
    assert code == 0 and "1 image: more than 8 bits, of which 0 is black and 3276 white; written with 8" in err
    answer = np.asarray(Image.open(tmp_path / "dark.png")).astype(int)
    assert np.abs(answer - (ramp // 20) * (255 / 3276)).max() <= 0.5
    code, _, err = cli(snapshot, images, tmp_path / "no", "--white", 5, "--black", 9)
    assert code == 2 and "--white 5 must be above --black 9" in err


def test_eight_bits_for_a_model_of_more(cli, model: Callable[..., Path], tmp_path: Path) -> None:
    images = write_images(tmp_path / "in", 3, size=20)
    write_images(images, 1, size=20, extension="jpg")
    (images / "0000.jpg").rename(images / "photo.jpg")
    code, _, err = cli(model(3, a=TWELVE_BITS, b=TWELVE_BITS), images, tmp_path / "out")
    assert code == 0
    assert err == "4 images: 8 bits, of which 0 is black and 255 white, for a model trained on uint16\n"
    original = np.asarray(Image.open(images / "0000.png")).astype(float)
    answer = read(tmp_path / "out" / "0000.png")
    assert answer.dtype == np.uint16 and np.abs(answer - original * 4095 / 255).max() <= 0.5
    assert read(tmp_path / "out" / "photo.png").dtype == np.uint16


def test_one_domain_has_more_bits(cli, model: Callable[..., Path], tmp_path: Path) -> None:
    floats = {"dtype": "float32", "black": -1, "white": 1}
    images = write_images(tmp_path / "in", 1, size=20)
    assert cli(model(3, b=floats), images, tmp_path / "out")[0] == 0
    answer = np.load(tmp_path / "out" / "0000.npy")  # no PNG holds them
    assert answer.dtype == np.float32 and answer.shape == (20, 20, 3)
    code, _, err = cli(tmp_path / "model", tmp_path / "out", tmp_path / "back", "--direction", "BA", "--format", "png")
    assert code == 0 and err == ""
    assert np.array_equal(read(tmp_path / "back" / "0000.png"), np.asarray(Image.open(images / "0000.png")))


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_format_that_cannot_hold_the_values_is_refused_first(
    cli, model: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    images = write_images(tmp_path / "in", 1)
    values = {"dtype": "int16", "black": -5, "white": 5}
    for output, options in ((tmp_path / "out", ["--format", kind]), (tmp_path / f"x.{kind}", [])):
        source = images if output.name == "out" else images / "0000.png"
        code, _, err = cli(model(3, b=values), source, output, *options)
        assert code == 2 and "the translation has int16 and 3 channels: give tif or npy" in err and not output.exists()


def test_arrays_tensors_and_pictures(model: Callable[..., Path]) -> None:
    translator = Translator(Snapshot.open(model(1, a=TWELVE_BITS, b=TWELVE_BITS)), device="cpu")
    values = noise("uint16", 0, 4095, 1)
    assert np.array_equal(translator.translate(values)[..., 0], values)
    assert np.array_equal(translator.translate(values.astype(">u2"))[..., 0], values)
    made = translator.translate(torch.from_numpy(values)[None])
    assert made.dtype == torch.uint16 and np.array_equal(made[0].numpy(), values)
    picture = translator.translate(Image.fromarray(values))
    assert picture.mode == "I;16" and np.array_equal(np.asarray(picture), values)
    half = Translator(Snapshot.open(model(1, a=TWELVE_BITS, b=TWELVE_BITS)), device="cpu", white=2000)
    assert np.abs(half.translate(values)[..., 0] - np.clip(values, 0.0, 2000.0) * 4095 / 2000).max() <= 0.5


@pytest.mark.parametrize("direction", ["AB", "BA"])
def test_files_give_the_bands_of_training(model: Callable[..., Path], tmp_path: Path, direction: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "four.tif", pixels, photometric="minisblack", planarconfig="contig")
    translator = Translator(Snapshot.open(model(3, bands={"A": [4, 2, 1], "B": [3, 1, 2]})), direction, "cpu")
    made = translator.translate(tmp_path / "four.tif")
    taken = [3, 1, 0] if direction == "AB" else [2, 0, 1]
    assert (np.asarray(made) == pixels[..., taken]).all()


@pytest.mark.parametrize(
    ("dtype", "scale", "says"),
    [
        ("float32", 1 / 4095, "its values are of float32, and the model was trained on uint16 of 0"),
        ("int16", 1, "its values are of int16, and the model was trained on uint16 of 0"),
        ("uint16", 16, "1 image: more than 1 % of values beyond black or white"),
        ("uint16", 1 / 16, "1 image: no value above a quarter of white"),
        ("uint16", 1, ""),
    ],
)
def test_values_that_the_range_of_training_does_not_fit_are_told(
    model: Callable[..., Path], tmp_path: Path, command: Callable[..., Any], dtype: str, scale: float, says: str
) -> None:
    from pipelines import translate

    values = np.random.default_rng(0).integers(0, 4096, (8, 8)) * scale
    tifffile.imwrite(tmp_path / "one.tif", values.astype(dtype), photometric="minisblack")
    snapshot = model(1, a=TWELVE_BITS, b=TWELVE_BITS)
    code, _, err = command(translate.main, snapshot, tmp_path / "one.tif", tmp_path / "out" / "one.tif")
    assert (says in err) if says else not err
    assert code == (1 if "trained on" in says else 0)
