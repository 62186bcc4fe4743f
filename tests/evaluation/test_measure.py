"""A snapshot measured on data sets whose answers are known."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.manifest import READING, Manifest, open_manifest
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.values import ValueRange
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation import cost, evaluator
from cyclegan_dist.evaluation.class_rate import IMAGENET_CLASSES, class_rate_key
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.evaluation.features import feature_network
from cyclegan_dist.evaluation.measure import evaluate
from cyclegan_dist.evaluation.report import write_report
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.step.distributed import World
from tests.conftest import write_images
from tests.evaluation.functions import CONSTANT, IDENTITY, INVERT, Function, Measure, generators
from tests.ranks import run_ranks
from tests.training.trainings import ALONE, go


def test_domains_of_a_model_trained_on_exchanged_ones_are_exchanged(
    tiny_run: Callable[..., Config], opened: Manifest
) -> None:
    figures = []
    for direction in ("AtoB", "BtoA"):
        config = tiny_run(name=direction, stop_after=2, data__direction=direction)
        go(config)
        with generators(IDENTITY, IDENTITY):
            found = evaluate(Snapshot.open(config.run_dir), opened, EvaluationConfig(), ALONE)
        figures.append([found.facts["images"][domain] for domain in "AB"])
    assert figures == [[7, 10], [10, 7]]


def test_it_says_how_far_it_is(
    tiny_run: Callable[..., Config], opened: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluator, "PROGRESS_S", -1.0)
    config, lines = tiny_run(stop_after=2), list[str]()
    go(config)
    evaluate(Snapshot.open(config.run_dir), opened, EvaluationConfig(), ALONE, report=lines.append)
    assert "evaluated 7 of 7 images of domain A" in lines and "evaluated 10 of 10 images of domain B" in lines


def test_a_pair_that_does_nothing(measured: Measure) -> None:
    found = measured(IDENTITY, IDENTITY)
    for domain in "AB":
        assert found.figures[f"eval/cycle_l1_{domain}"].value == 0
        assert found.figures[f"eval/identity_l1_{domain}"].value == 0
        assert found.figures[f"eval/cycle_ssim_{domain}"].value == pytest.approx(1)
    assert {(finding.name, finding.direction) for finding in found.findings} == {
        ("do-nothing", "AB"),
        ("do-nothing", "BA"),
    }
    assert found.figures["eval/content_ssim_AB"].n == 7 and found.figures["eval/content_ssim_BA"].n == 10


def test_a_pair_that_inverts_and_one_that_collapsed(measured: Measure) -> None:
    assert {f.name for f in measured(INVERT, INVERT).findings} == {"inverted"}
    assert measured(INVERT, INVERT).figures["eval/cycle_l1_A"].value == 0
    collapsed = measured(CONSTANT, IDENTITY)
    assert ("collapsed", "AB") in {(f.name, f.direction) for f in collapsed.findings}
    assert not any(f.name == "collapsed" and f.direction == "BA" for f in collapsed.findings)


def test_identity_is_of_the_generator_that_leads_into_the_domain(measured: Measure) -> None:
    found = measured(INVERT, IDENTITY).figures
    assert found["eval/identity_l1_A"].value == 0 and found["eval/identity_l1_B"].value > 50


def test_how_far_translations_get_and_that_some_change_little(measured: Measure, tmp_path: Path) -> None:
    """Dark images and bright ones; generators that make images a little brighter, and as bright as they should be."""
    from PIL import Image

    for domain, shift in (("A", -60), ("B", 60)):
        for path in write_images(tmp_path / domain, 24, size=16, seed=ord(domain)).iterdir():
            Image.open(path).point(lambda level, shift=shift: level // 3 + 85 + shift).save(path)
    path = prepare(PrepareConfig(tmp_path / "A", tmp_path / "B", tmp_path / "out", workers=1))
    manifest = open_manifest(str(path.parent), (*READING, "name"))
    little, enough = (Function(lambda x, levels=levels: torch.clamp(x + levels / 127.5, -1, 1)) for levels in (15, 120))
    found = measured(little, IDENTITY, manifest)
    assert 0 < found.figures["discriminant/untrained_AB"].value < 0.4
    assert {(f.name, f.direction) for f in found.findings} == {("minimal-change", "AB"), ("do-nothing", "BA")}
    found = measured(enough, IDENTITY, manifest, count=20)
    assert found.figures["discriminant/untrained_AB"].value == pytest.approx(1, abs=0.3)
    assert found.figures["discriminant/untrained_AB"].n == 20
    assert {(f.name, f.direction) for f in found.findings} == {("do-nothing", "BA")}
    assert not any("discriminant" in key for key in measured(little, IDENTITY, manifest, count=8).figures)


def test_ranks_share_the_work_and_all_get_the_whole(snapshot: Snapshot, opened: Manifest) -> None:
    def figures(world: World) -> dict[str, tuple[float, ...]]:
        found = evaluate(snapshot, opened, EvaluationConfig(), world).figures
        return {key: (figure.value, *figure.parts) for key, figure in found.items()}

    alone = figures(ALONE)
    for other in run_ranks(figures, 3):
        assert other.keys() == alone.keys()
        for key, values in alone.items():
            assert other[key] == pytest.approx(values, rel=1e-4, abs=1e-6), key


def test_only_requested_figures_are_measured(measured: Measure) -> None:
    found = measured(INVERT, INVERT, metrics=("cycle",), count=3).figures
    assert set(found) == {f"eval/cycle_{kind}_{domain}" for kind in ("l1", "ssim") for domain in "AB"}
    assert all(figure.n == 3 for figure in found.values())


def test_class_rates_of_translations_stand_beside_those_of_real_images(measured: Measure) -> None:
    network = feature_network("efficientnet_lite0", torch.device("cpu"))
    shown = measured(IDENTITY, CONSTANT, metrics=("cycle",), count=7).directions[0].shown["input"]  # all 7 of A
    assert network.head is not None
    classes = network.head(network.of(torch.stack(shown))).argmax(1)
    name = IMAGENET_CLASSES[int(classes[0])]
    found = measured(
        IDENTITY, CONSTANT, metrics=("cycle",), features="efficientnet_lite0", class_rate=(name,), count=7
    ).figures
    key = class_rate_key(network, name)
    assert {k for k in found if k[:4] != "eval"} == {f"{key}_{end}" for end in ("AB", "BA", "real_A", "real_B")}
    assert found[f"{key}_AB"].parts == found[f"{key}_real_A"].parts == tuple((classes == classes[0]).double().tolist())
    assert found[f"{key}_BA"].value in (0, 1)  # all translations are one image
    low, high = found[f"{key}_BA"].interval
    assert 0 <= low < high <= 1


def test_a_class_that_does_not_exist_is_refused(measured: Measure) -> None:
    with pytest.raises(UsageError, match="class_rate zebre: did you mean zebra"):
        measured(IDENTITY, IDENTITY, features="efficientnet_lite0", class_rate=("zebre",))
    with pytest.raises(UsageError, match="class_rate needs a classifier: give features efficientnet_lite0 or"):
        measured(IDENTITY, IDENTITY, class_rate=("zebra",))


def test_a_damaged_image_is_named(snapshot: Snapshot, dataset: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(dataset, tmp_path / "copy")
    shard = next((tmp_path / "copy" / "A").iterdir())
    shard.write_bytes(b"\0" * shard.stat().st_size)
    with pytest.raises(UsageError, match=r"image 0\d+ of domain A: .*restore the shard"):
        evaluate(snapshot, open_manifest(str(tmp_path / "copy"), (*READING, "name")), EvaluationConfig(), ALONE)


def test_the_report_is_a_page_and_figures(measured: Measure, tmp_path: Path) -> None:
    page = write_report(measured(IDENTITY, CONSTANT), tmp_path / "report")
    text = page.read_text()
    assert "eval/cycle_l1_A" in text and "changes its input by 0.0 grey levels" in text
    assert text.count("<figure>") == 7 + 8  # of more than eight images the first eight
    written = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert written["figures"]["fd/untrained_AB"]["interval"] is None
    low, high = written["figures"]["kd/untrained_AB"]["interval"]
    assert low < written["figures"]["kd/untrained_AB"]["value"] < high and math.isfinite(low)
    assert {finding["name"] for finding in written["findings"]} >= {"do-nothing", "collapsed"}


def test_a_data_set_with_another_range_is_refused(measured: Measure, opened: Manifest) -> None:
    deep = dataclasses.replace(opened, values={"A": None, "B": ValueRange("uint16", 0, 4095)})
    with pytest.raises(
        UsageError, match=r"domain B has uint16 of 0 \(black\) to 4095 \(white\), .* 8 bits: prepare it"
    ):
        measured(IDENTITY, IDENTITY, manifest=deep)


def test_users_are_told_what_a_slow_model_costs(
    snapshot: Snapshot, opened: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "slow_seconds_per_pixel", lambda translator: 2 / 16**2)  # pyright: ignore
    config, said = EvaluationConfig(metrics=("distances", "cycle"), count=4), list[str]()
    evaluate(snapshot, opened, config, ALONE, limit_s=40, report=said.append)
    assert said == ["a translation of 16x16 takes about 2.0 s, and 16 of them 32 s"]  # 4 images, twice, both directions
    with pytest.raises(UsageError, match="16 of them 32 s, more than the 30 s that there are: evaluate fewer images"):
        evaluate(snapshot, opened, config, ALONE, limit_s=30)


def test_several_networks_see_the_same_translations(measured: Measure, opened: Manifest) -> None:
    one, two = ("untrained", "efficientnet_lite0")
    both = measured(INVERT, IDENTITY, features=(one, two), class_rate=("zebra",), metrics=("distances", "content"))
    assert list(both.facts["features"]) == [one, two] and both.facts["left_out"] == []
    for name in (one, two):
        alone = measured(INVERT, IDENTITY, features=(name,), metrics=("distances",))
        assert {key: both.figures[key] for key in alone.figures} == alone.figures
        assert alone.figures[f"kd/{name}_AB"].n == 7
    assert both.findings == measured(INVERT, IDENTITY, features=(one,), metrics=("distances",)).findings
    assert both.figures["class_rate/efficientnet_lite0/zebra_AB"].n == 7  # by the network that has classes
    assert both.figures["eval/content_edges_AB"].value == pytest.approx(1, abs=1e-3)
    assert (
        both.figures["structure/efficientnet_lite0_BA"].value
        == 0
        < both.figures["structure/efficientnet_lite0_AB"].value
    )


def test_a_network_that_took_part_in_the_training_is_left_out(snapshot: Snapshot, opened: Manifest) -> None:
    helped = dataclasses.replace(snapshot, trained_with=("efficientnet_lite0",))
    said: list[str] = []
    what = EvaluationConfig(features=("efficientnet_lite0", "untrained"), metrics=("distances", "content"))
    found = evaluate(helped, opened, what, ALONE, report=said.append)
    assert said == ["features efficientnet_lite0 are left out: the network took part in the training"]
    assert found.facts["features"] == {"untrained": ""} and found.facts["left_out"] == ["efficientnet_lite0"]
    assert not any("efficientnet" in key for key in found.figures)
    with pytest.raises(UsageError, match="class_rate: efficientnet_lite0 took part in the training"):
        evaluate(helped, opened, dataclasses.replace(what, class_rate=("zebra",)), ALONE)
    with pytest.raises(UsageError, match="was trained with efficientnet_lite0, which cannot evaluate it"):
        evaluate(helped, opened, dataclasses.replace(what, features=("efficientnet_lite0",)), ALONE)
