"""Pairs and label maps: a snapshot measured on a data set of images and their inverses."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageOps

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.manifest import READING, Manifest, open_manifest
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.evaluation.measure import evaluate
from cyclegan_dist.evaluation.segmenter import SmallFCN, save_segmenter
from cyclegan_dist.models.snapshot import Snapshot
from tests.conftest import write_images
from tests.evaluation.functions import IDENTITY, INVERT, Measure, generators
from tests.training.trainings import ALONE, go


@pytest.fixture
def negatives(tmp_path: Path) -> Manifest:
    """Six pairs of black and white images; B is A inverted, though A and B lie in other orders."""
    a = write_images(tmp_path / "A", 6, size=16)
    (tmp_path / "B").mkdir()
    for path in a.iterdir():
        image = Image.open(path).convert("L").point(lambda level: 255 * (level > 127)).convert("RGB")
        image.save(path)
        ImageOps.invert(image).save(tmp_path / "B" / path.name)
    for folder, ending in (("A", "PNG"), ("B", "png")):  # with its ending, 0000 stands before 0000.b or behind it
        (tmp_path / folder / "0005.png").rename(tmp_path / folder / "0000.b.png")
        (tmp_path / folder / "0000.png").rename(tmp_path / folder / f"0000.{ending}")
    path = prepare(PrepareConfig(a, tmp_path / "B", tmp_path / "out", pairs="names", workers=1, seed=3))
    return open_manifest(str(path.parent), (*READING, "name"))


@pytest.fixture
def palette(tmp_path: Path) -> str:
    (tmp_path / "palette.yaml").write_text("domain: B\nclasses: {dark: [0, 0, 0], bright: [255, 255, 255]}\n")
    return str(tmp_path / "palette.yaml")


def test_pairs_are_compared_by_name(measured: Measure, negatives: Manifest, palette: str) -> None:
    """The pair that inverts is perfect."""
    found = measured(INVERT, INVERT, negatives, palette=palette).figures
    assert found["paired/l1_AB"].value == 0 and found["paired/accuracy_5_BA"].value == 1
    assert found["seg/pixel_accuracy_AB"].value == pytest.approx(1) == found["seg/class_iou_AB"].value
    assert not any(key.startswith("seg/") and key.endswith(("BA", "_A")) for key in found)  # without a network
    wrong = measured(IDENTITY, IDENTITY, negatives, palette=palette).figures
    assert wrong["paired/l1_AB"].value > 50 and wrong["seg/pixel_accuracy_AB"].value < 0.1


def test_a_scoring_network_scores_translations_to_photos_and_real_ones(
    measured: Measure, negatives: Manifest, palette: str, tmp_path: Path
) -> None:
    names = {"dark": (0, 0, 0), "bright": (255, 255, 255)}
    torch.manual_seed(0)
    network = SmallFCN(2).eval()
    card = {"network": "fcn_small", "classes": [[name, list(colour)] for name, colour in names.items()]}
    save_segmenter(network, card, tmp_path / "s.safetensors")
    options = {"palette": palette, "segmenter": str(tmp_path / "s.safetensors"), "metrics": ("segmentation",)}
    right, wrong = (measured(*pair, negatives, **options) for pair in ((INVERT, INVERT), (IDENTITY, IDENTITY)))
    assert str(right.facts["segmenter"]).startswith("fcn_small-")
    for key in ("pixel_accuracy", "class_accuracy", "class_iou"):
        truth = right.figures[f"seg/{key}_real_A"].value
        # Perfect translations score as real photos do, however bad the network is.
        assert right.figures[f"seg/{key}_BA"].value == truth == wrong.figures[f"seg/{key}_real_A"].value
        assert right.figures[f"seg/{key}_AB"].value == pytest.approx(1)
    assert wrong.figures["seg/pixel_accuracy_BA"].value != right.figures["seg/pixel_accuracy_BA"].value


def test_the_palette_names_a_domain_of_the_data_set(
    tiny_run: Callable[..., Config], negatives: Manifest, palette: str
) -> None:
    """A model that was trained with the domains exchanged has the label maps as its A."""
    config = tiny_run(stop_after=2, data__direction="BtoA")
    go(config)
    with generators(INVERT, IDENTITY):
        what = EvaluationConfig(palette=palette, metrics=("segmentation",))
        found = evaluate(Snapshot.open(config.run_dir), negatives, what, ALONE).figures
    scores = ("pixel_accuracy", "class_accuracy", "class_iou")
    assert set(found) == {f"seg/{kind}{key}_BA" for key in scores for kind in ("", "exchanged_")}
    assert found["seg/pixel_accuracy_BA"].value < 0.1  # of IDENTITY


def test_exchanged_classes_are_named_with_both_scores(measured: Measure, negatives: Manifest, palette: str) -> None:
    options = {"palette": palette, "metrics": ("segmentation",)}
    wrong = measured(IDENTITY, IDENTITY, negatives, **options)
    assert wrong.figures["seg/pixel_accuracy_AB"].value < 0.1
    assert wrong.figures["seg/exchanged_pixel_accuracy_AB"].value == pytest.approx(1)
    (text,) = [finding.text for finding in wrong.findings if finding.name == "exchanged-classes"]
    assert "dark as bright, bright as dark; exchanged back, pixel accuracy would be 1.00 instead of 0.0" in text
    right = measured(INVERT, IDENTITY, negatives, **options)
    assert not any("exchanged" in key for key in right.figures)
    assert not any(finding.name == "exchanged-classes" for finding in right.findings)


def test_label_maps_that_cannot_be_scored_are_refused(
    measured: Measure, negatives: Manifest, palette: str, opened: Manifest, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="is no label map of this palette"):
        measured(IDENTITY, IDENTITY, palette=palette)
    unpaired = dataclasses.replace(negatives, paired=False)
    with pytest.raises(UsageError, match=r"has no pairs, so translations to label maps have no truth: prepare it with"):
        measured(IDENTITY, IDENTITY, unpaired, palette=palette)
    with pytest.raises(UsageError, match=r"segmenter none\.safetensors is not there"):
        measured(IDENTITY, IDENTITY, negatives, palette=palette, segmenter="none.safetensors")
