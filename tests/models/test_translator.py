"""One translator for every kind of image, and the public function that loads it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import pil_to_tensor

import cyclegan_dist
from cyclegan_dist.data.images import UnreadableImageError
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models import inference
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.models.translator import Translator, open_translators
from tests.service.running import make_snapshot, picture


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return Snapshot.open(make_snapshot(tmp_path_factory.mktemp("snapshot") / "nimg-000000040"))


def pixels(image: Any) -> torch.Tensor:
    """C x H x W of any kind of translation."""
    if isinstance(image, Image.Image):
        return pil_to_tensor(image)
    return torch.from_numpy(image).permute(2, 0, 1) if isinstance(image, np.ndarray) else image


@pytest.mark.parametrize("direction", ["AB", "BA"])
def test_a_translation_is_of_the_kind_of_its_image(snapshot: Snapshot, tmp_path: Path, direction: str) -> None:
    file, tensor = picture(24, 20), pil_to_tensor(Image.open(io.BytesIO(picture(24, 20))))
    (tmp_path / "image.png").write_bytes(file)
    expected = inference.translate(snapshot.generator(direction), tensor[None])[0]
    translator = Translator(snapshot, direction, "cpu")
    images = {
        Image.Image: [file, tmp_path / "image.png", str(tmp_path / "image.png"), Image.open(io.BytesIO(file))],
        np.ndarray: [tensor.permute(1, 2, 0).numpy()],
        torch.Tensor: [tensor],
    }
    for kind, given in images.items():
        for image in given:
            made = translator.translate(image)
            assert isinstance(made, kind) and torch.equal(pixels(made), expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_a_picture_in_memory_is_taken_as_its_file_would_be(snapshot: Snapshot, tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100) if mode == "I;16" else None
    image = image or Image.open(io.BytesIO(picture())).convert(mode)
    image.save(tmp_path / "image.png")
    translator = Translator(snapshot, device="cpu")
    assert torch.equal(translator.decode(image), translator.decode(tmp_path / "image.png"))


def test_a_batch_keeps_its_order_and_only_large_images_are_tiled(snapshot: Snapshot) -> None:
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in ((20, 24), (70, 40), (20, 24), (16, 16))]
    whole = Translator(snapshot, device="cpu")
    alone = [whole.translate(image) for image in images]
    for translator in (
        whole,
        Translator(snapshot, device="cpu", tile=32),
        Translator(snapshot, device="cpu", tile=32, whole_pixels=70 * 40),
    ):
        for made, expected in zip(translator.translate_batch(images), alone, strict=True):
            assert made.shape == expected.shape and (made.int() - expected.int()).abs().max() <= 1
    with pytest.MonkeyPatch.context() as patch:
        tiled: list[torch.Size] = []
        name = "cyclegan_dist.models.translator.translate_tiled"
        patch.setattr(name, lambda network, image, tile, finish: tiled.append(image.shape) or image)
        Translator(snapshot, device="cpu", tile=32, whole_pixels=70 * 40).translate_batch(images)
        assert tiled == []
        Translator(snapshot, device="cpu", tile=32).translate_batch(images)
        assert tiled == [(3, 70, 40)]


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (b"no image", "no image"),
        (np.zeros((4, 4, 3), np.float32), "values of float32 have no known range: give white"),
        (np.zeros((4, 4, 3), np.int64), "an array of int64: give uint8, uint16"),
        (torch.zeros(3, 4, 4, dtype=torch.bool), r"3 x 4 x 4 of torch\.bool; give uint8, uint16"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "1 x 3 x 4 x 4"),
        (np.zeros((4, 4, 4), np.uint8), "the image has 4 channels, and direction AB takes 3"),
        (Image.new("CMYK", (4, 4)), "convert it to RGB"),
    ],
)
def test_unusable_images_are_one_line(snapshot: Snapshot, image: Any, says: str) -> None:
    with pytest.raises(UnreadableImageError, match=says) as error:
        Translator(snapshot, device="cpu").translate(image)
    assert "\n" not in str(error.value)


def test_grey_becomes_colour_and_four_channels_are_no_picture(snapshot: Snapshot, tmp_path: Path) -> None:
    grey = np.arange(20 * 24, dtype=np.uint8).reshape(20, 24)
    assert Translator(snapshot, device="cpu").translate(grey).shape == (20, 24, 3)
    four = Snapshot.open(make_snapshot(tmp_path / "four", input_nc=4))
    assert open_translators(four, "cpu")["AB"].translate(np.zeros((20, 24, 4), np.uint8)).shape == (20, 24, 3)
    back = open_translators(four, "cpu")["BA"]
    assert back.translate(np.zeros((20, 24, 3), np.uint8)).shape == (20, 24, 4)
    with pytest.raises(UsageError, match="has 4 channels, which no PIL image has"):
        back.translate(picture())


def test_a_run_is_loaded_in_one_line(snapshot: Snapshot, tmp_path: Path) -> None:
    snapshots = tmp_path / "run" / "snapshots"
    snapshots.mkdir(parents=True)
    (snapshots / snapshot.folder.name).symlink_to(snapshot.folder)
    for source in (tmp_path / "run", str(tmp_path / "run"), snapshot.folder):
        translator = cyclegan_dist.load(source, "BA", "cpu")
        assert translator.direction == "BA" and translator.translate(picture(24, 20)).size == (24, 20)
    assert cyclegan_dist.load(snapshot.folder).direction == "AB"
    for options, says in (
        ({"direction": "up"}, r"direction up: .* translates A to B and B to A only; choose direction AB or BA"),
        ({"device": "warp"}, "device warp cannot be used here"),
        ({"device": "mps"}, "device mps cannot be used: torch cannot exchange .* give cpu or auto"),
        ({"device": torch.device("mps:0")}, "device mps:0 cannot be used: torch"),
        ({"tile": 8}, "tile 8: give at least 32"),
    ):
        with pytest.raises(UsageError, match=says):
            cyclegan_dist.load(snapshot.folder, **options)
    with pytest.raises(UsageError, match="neither a snapshot nor a run"):
        cyclegan_dist.load(tmp_path / "nothing")


def test_what_is_no_image_is_named(snapshot: Snapshot) -> None:
    with pytest.raises(UnreadableImageError, match="NoneType is no image: give a path"):
        cyclegan_dist.load(snapshot.folder).translate(None)  # pyright: ignore[reportCallIssue, reportArgumentType]
