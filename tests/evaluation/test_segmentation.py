"""By hand."""

from pathlib import Path

import pytest
import torch
import torchvision

from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.segmentation import Palette, confusion, open_segmenter, read_palette, scores_of, segmented

PALETTE = Palette(domain="B", classes={"road": (128, 64, 128), "sky": (70, 130, 180), "tree": (107, 142, 35)})
CPU = torch.device("cpu")


def test_a_pixel_is_of_the_class_of_the_nearest_colour() -> None:
    pixels = torch.tensor([[120, 70, 130], [70, 130, 180], [100, 150, 20]], dtype=torch.uint8)
    maps = pixels.T.reshape(1, 3, 1, 3)
    assert PALETTE.labels(maps).tolist() == [[[0, 1, 2]]]


def test_the_three_figures() -> None:
    truth = torch.tensor([0, 0, 0, 0, 1, 1])
    found = torch.tensor([0, 0, 0, 1, 1, 0])
    scores = scores_of(confusion(truth, found, 3), images=1)
    assert scores["pixel_accuracy"].value == pytest.approx(4 / 6)
    assert scores["class_accuracy"].value == pytest.approx((3 / 4 + 1 / 2) / 2)  # the third class does not occur
    assert scores["class_iou"].value == pytest.approx((3 / 5 + 1 / 3) / 2)


def test_a_palette_is_read_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "palette.yaml"
    file.write_text("domain: A\nclasses:\n  road: [1, 2, 3]\n  sky: [4, 5, 6]\n")
    assert read_palette(str(file)).classes == {"road": (1, 2, 3), "sky": (4, 5, 6)}
    file.write_text("domain: C\nclasses: {road: [1, 2, 3], sky: [1, 2, 4]}\n")
    with pytest.raises(UsageError, match="is no palette"):
        read_palette(str(file))
    with pytest.raises(UsageError, match="cannot be read"):
        read_palette(str(tmp_path / "none.yaml"))


@pytest.mark.slow
def test_a_segmenter_is_a_torchvision_network(tmp_path: Path) -> None:
    network = torchvision.models.get_model(
        "lraspp_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=3
    )
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    segmenter = open_segmenter(f"lraspp_mobilenet_v3_large:{tmp_path / 'weights.pth'}", 3, CPU)
    photographs = torch.randint(0, 256, (2, 3, 32, 48), dtype=torch.uint8)
    assert segmented(segmenter, photographs, CPU).shape == (2, 32, 48)
    with pytest.raises(UsageError, match="for the palette's 4 classes"):
        open_segmenter(f"lraspp_mobilenet_v3_large:{tmp_path / 'weights.pth'}", 4, CPU)
    with pytest.raises(UsageError, match="give NAME:FILE"):
        open_segmenter("resnet18:x", 3, CPU)
