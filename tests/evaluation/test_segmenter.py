"""Files of scoring networks: those that we write, and torchvision's."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from cyclegan_dist.data.palette import Palette
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.segmenter import SmallFCN, new_network, open_segmenter, resized_photos, save_segmenter

CPU = torch.device("cpu")
PALETTE = Palette(domain="B", classes={"road": (128, 64, 128), "sky": (70, 130, 180), "tree": (107, 142, 35)})
CARD = {"network": "fcn_small", "classes": [[name, list(colour)] for name, colour in PALETTE.classes.items()]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_segmenter(SmallFCN(3), CARD, tmp_path / "new" / "segmenter.safetensors")
    return tmp_path / "new" / "segmenter.safetensors"


@pytest.mark.parametrize("size", [(32, 32), (17, 9), (1, 1)])
def test_the_small_network_takes_photos_of_any_size(file: Path, size: tuple[int, int]) -> None:
    segmenter = open_segmenter(str(file), PALETTE, CPU)
    photo = torch.randint(0, 256, (3, 12, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = segmenter(photo, size)
    assert found.shape == size and found.dtype == torch.int64 and found.min() >= 0 and found.max() <= 2
    assert (segmenter(photo[:1], size) == segmenter(photo[:1].repeat(3, 1, 1), size)).all()  # grey


def test_the_name_tells_files_apart(file: Path, tmp_path: Path) -> None:
    name = open_segmenter(str(file), PALETTE, CPU).name
    assert name.startswith("fcn_small-") and open_segmenter(str(file), PALETTE, CPU).name == name
    save_segmenter(SmallFCN(3), CARD, tmp_path / "other.safetensors")
    assert open_segmenter(str(tmp_path / "other.safetensors"), PALETTE, CPU).name != name


def test_other_classes_colours_and_files_are_refused(file: Path, tmp_path: Path) -> None:
    colours = {**PALETTE.classes, "tree": (1, 2, 3)}
    order = {key: PALETTE.classes[key] for key in ("sky", "road", "tree")}
    for classes in (colours, order):
        with pytest.raises(UsageError, match=r"is for other classes \(road, sky, tree\) than the palette"):
            open_segmenter(str(file), Palette(domain="B", classes=classes), CPU)
    with pytest.raises(UsageError, match=r"^segmenter .*none\.safetensors is not there: give a file"):
        open_segmenter(str(tmp_path / "none.safetensors"), PALETTE, CPU)
    (tmp_path / "empty.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match="is no file of the pipeline segmenter"):
        open_segmenter(str(tmp_path / "empty.safetensors"), PALETTE, CPU)
    save_segmenter(SmallFCN(4), CARD, tmp_path / "wrong.safetensors")
    with pytest.raises(UsageError, match="for the palette's 3 classes"):
        open_segmenter(str(tmp_path / "wrong.safetensors"), PALETTE, CPU)
    with pytest.raises(UsageError, match="cannot write"):
        save_segmenter(SmallFCN(3), CARD, Path("/proc/none.safetensors"))


def test_the_card_is_in_the_file(file: Path) -> None:
    from safetensors import safe_open

    with safe_open(file, "pt") as content:
        assert json.loads(content.metadata()["card"]) == CARD


def test_unknown_networks_name_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="no segmentation network fcn_resnet5: did you mean fcn_resnet50"):
        new_network("fcn_resnet5", 3)


def test_photos_are_resized_as_pillow_does() -> None:
    photo = torch.randint(0, 256, (3, 12, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for size in ((31, 47), (5, 8)):
        expected = Image.fromarray(photo.permute(1, 2, 0).numpy()).resize(size[::-1], Image.Resampling.BILINEAR)
        found = resized_photos(photo[None], size)[0].permute(1, 2, 0).numpy()
        assert np.abs(found.astype(int) - np.asarray(expected)).max() <= 1


@pytest.mark.slow
def test_torchvision_networks_come_as_name_and_file(tmp_path: Path) -> None:
    network = torchvision.models.get_model(
        "lraspp_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=3
    )
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    source = f"lraspp_mobilenet_v3_large:{tmp_path / 'weights.pth'}"
    photo = torch.randint(0, 256, (3, 32, 48), dtype=torch.uint8)
    assert open_segmenter(source, PALETTE, CPU)(photo, (32, 48)).shape == (32, 48)
    four = Palette(domain="B", classes={**PALETTE.classes, "car": (0, 0, 142)})
    with pytest.raises(UsageError, match="for the palette's 4 classes"):
        open_segmenter(source, four, CPU)
    with pytest.raises(UsageError, match=r"resnet18:x is not there: give a file .* or NAME:FILE"):
        open_segmenter("resnet18:x", PALETTE, CPU)
