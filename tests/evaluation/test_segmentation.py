"""Scores of label maps against an independent computation, and cases by hand."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cyclegan_dist.data.manifest import READING, Manifest, open_manifest
from cyclegan_dist.data.palette import Palette
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.segmentation import LabelMaps, Segmentation, confusion, scores_of, summed
from cyclegan_dist.evaluation.segmenter import Segmenter

PALETTE = Palette(
    domain="B",
    classes={"road": (128, 64, 128), "sky": (70, 130, 180), "tree": (107, 142, 35)},
    ignored={"unlabelled": (0, 0, 0)},
)
COLOURS = np.array([*PALETTE.classes.values(), *PALETTE.ignored.values()], np.uint8)
KEYS = ("pixel_accuracy", "class_accuracy", "class_iou")


def test_the_three_scores_by_hand() -> None:
    truth = torch.tensor([0, 0, 0, 0, 1, 1, 3, 7])  # the last two are ignored: 3 and above are no classes
    found = torch.tensor([0, 0, 0, 1, 1, 0, 0, 2])
    counts = confusion(truth, found, 3)
    assert counts.tolist() == [[3, 1, 0], [1, 1, 0], [0, 0, 0]]
    scores = scores_of(counts, images=1)
    assert scores["pixel_accuracy"].value == pytest.approx(4 / 6)
    assert scores["class_accuracy"].value == pytest.approx((3 / 4 + 1 / 2 + 0) / 3)  # the absent third class counts 0
    assert scores["class_iou"].value == pytest.approx((3 / 5 + 1 / 3 + 0) / 3)


def test_a_class_that_is_only_found_counts_0_in_both_means() -> None:
    scores = scores_of(confusion(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 2, 1, 1]), 3), images=1)
    assert scores["class_accuracy"].value == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert scores["class_iou"].value == pytest.approx((1 / 2 + 1 + 0) / 3)


def test_nothing_to_score_is_0() -> None:
    scores = scores_of(confusion(torch.tensor([3, 3]), torch.tensor([0, 1]), 3), images=1)
    assert [scores[key].value for key in KEYS] == [0, 0, 0]


def test_scores_equal_an_independent_computation() -> None:
    """Pixel by pixel from the definitions, over several images, of which the counts are added."""
    rng, classes = np.random.default_rng(0), 19
    images = [(rng.integers(0, 25, (7, 9)), rng.integers(0, 15, (7, 9))) for _ in range(4)]
    pairs = [(t, f) for truth, found in images for t, f in zip(truth.flat, found.flat, strict=True) if t < classes]
    accuracies, ious = [], []
    for c in range(classes):
        hits = sum(t == f == c for t, f in pairs)
        accuracies.append(hits / (sum(t == c for t, _ in pairs) + 1e-12))
        ious.append(hits / (sum(c in (t, f) for t, f in pairs) + 1e-12))
    counts = [{"AB": confusion(torch.from_numpy(t), torch.from_numpy(f), classes)} for t, f in images]
    scores = scores_of(summed(counts)["AB"], images=4)
    expected = (sum(t == f for t, f in pairs) / len(pairs), np.mean(accuracies), np.mean(ious))
    assert [scores[key].value for key in KEYS] == pytest.approx(list(expected), abs=1e-12)


def reading_colours() -> Segmenter:
    """A scoring network that knows photos by their colours: a photo is its map, 10 levels brighter."""

    class ByColour(torch.nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
            levels = (x * std + mean) * 255 - 10
            colours = torch.tensor(COLOURS[:3]).float().view(1, 3, 3, 1, 1)
            return {"out": -(levels[:, None] - colours).square().sum(2)}

    return Segmenter("by colour", ByColour(), torch.device("cpu"))


@pytest.fixture
def manifest(tmp_path: Path) -> Iterator[Manifest]:
    """Photos of 8 x 8, and maps of 16 x 16 whose third rows and columns show that they were not resized."""
    rng = np.random.default_rng(0)
    for domain in "AB":
        (tmp_path / domain).mkdir()
    for i in range(3):
        labels = rng.integers(0, 4, (16, 16))
        Image.fromarray(COLOURS[labels]).save(tmp_path / "B" / f"{i}.png")
        Image.fromarray(COLOURS[labels[1::2, 1::2]] + 10).save(tmp_path / "A" / f"{i}.png")
    config = PrepareConfig(tmp_path / "A", tmp_path / "B", tmp_path / "out", pairs="names", workers=1)
    yield open_manifest(str(prepare(config).parent), (*READING, "name"))


def test_maps_are_scored_at_their_stored_size(manifest: Manifest) -> None:
    labels = LabelMaps(manifest, PALETTE)
    found = Segmentation(labels, None)
    truth = labels[0]
    small = torch.from_numpy(COLOURS)[truth[1::2, 1::2].clamp(max=2)].permute(2, 0, 1)  # as a generator of 8 x 8 gives
    counts = found.confusions("AB", 0, 0, {"translation": small, "truth": small})["AB"]
    repeated = np.kron(truth[1::2, 1::2].clamp(max=2).numpy(), np.ones((2, 2), int))
    expected = np.zeros((3, 3), int)
    for t, f in zip(truth.numpy().flat, repeated.flat, strict=True):
        if t < 3:
            expected[t, f] += 1
    assert counts.tolist() == expected.tolist() and counts.sum() < 256
    assert found.confusions("AB", 0, None, {"translation": small}) == {}
    assert found.confusions("BA", 0, 0, {"translation": small, "truth": small}) == {}  # for want of a network


def test_real_photos_are_scored_beside_translations(manifest: Manifest) -> None:
    segmentation = Segmentation(LabelMaps(manifest, PALETTE), reading_colours())
    photo = torch.from_numpy(COLOURS)[segmentation.labels[0][1::2, 1::2]].permute(2, 0, 1) + 10
    grey = torch.full((3, 8, 8), 128, dtype=torch.uint8)
    both = segmentation.confusions("BA", 0, 1, {"translation": grey, "truth": photo})
    assert set(both) == {"BA", "real_A"}
    image = Image.fromarray(photo.permute(1, 2, 0).numpy()).resize((16, 16), Image.Resampling.BILINEAR)
    levels = np.asarray(image, float) - 10  # Pillow rounds as torch does
    nearest = ((levels[:, :, None] - COLOURS[:3].astype(float)) ** 2).sum(-1).argmin(-1)
    truth = segmentation.labels[0]
    assert both["real_A"].tolist() == confusion(truth, torch.from_numpy(nearest), 3).tolist()
    assert set(segmentation.confusions("BA", 0, None, {"translation": grey})) == {"BA"}


def test_maps_of_other_colours_and_of_one_class_are_refused(manifest: Manifest) -> None:
    exchanged = Palette(domain="B", classes={"red": (255, 0, 0), "green": (0, 255, 0)})
    with pytest.raises(UsageError, match=r"^image \d of domain B is no label map of this palette"):
        LabelMaps(manifest, exchanged)[0]
    LabelMaps(manifest, PALETTE).refuse_one_class()
    one = Palette(
        domain="B",
        classes={"road": (128, 64, 128), "car": (0, 0, 142)},
        ignored={"rest": (70, 130, 180), "tree": (107, 142, 35), "unlabelled": (0, 0, 0)},
    )
    with pytest.raises(UsageError, match=r"^the label maps hold road only"):
        LabelMaps(manifest, one).refuse_one_class()
