"""Options of older versions: read as those of today."""

from pathlib import Path

import pytest

from cyclegan_dist.config.config import Config, check_config, load_config, with_values
from cyclegan_dist.errors import UsageError


@pytest.mark.parametrize(("decay", "batch"), [(0.9, 2), (0.999, 1), (0.98, 4)])
def test_a_decay_per_update_is_read_as_the_half_life_with_that_decay(decay: float, batch: int) -> None:
    optim = check_config({"optim": {"ema_decay": decay, "batch_size": batch}}, "old.yaml").optim
    assert 0.5 ** (batch / optim.ema_half_life_images) == pytest.approx(decay, rel=1e-12)
    assert optim.ema_ramp == 0  # the decay was constant


def test_a_decay_without_the_batch_that_it_is_for_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A batch of the command line comes later: the half-life in images would be too short for it."""
    check_config({"optim": {"ema_decay": 0.9, "batch_size": 4}}, "mine.yaml")
    assert capsys.readouterr().err == ""
    check_config({"optim": {"ema_decay": 0.9}}, "mine.yaml")
    assert "mine.yaml: optim.ema_decay 0.9 is read as the half-life at batch_size 1" in capsys.readouterr().err


def test_no_decay_is_no_average() -> None:
    assert check_config({"optim": {"ema_decay": 0.0}}, "old.yaml") == Config()
    averaged = check_config({"optim": {"ema_decay": 0.9}}, "old.yaml")
    assert with_values(averaged, {"optim.ema_decay": 0.0}, "segments.json") == Config()  # ended by an extension


@pytest.mark.parametrize("decay", [1.0, -0.1, "fast"])
def test_a_decay_that_is_none_is_refused_with_todays_option(decay: object) -> None:
    with pytest.raises(UsageError, match=r"^old.yaml: optim.ema_decay: give optim.ema_half_life_images"):
        check_config({"optim": {"ema_decay": decay}}, "old.yaml")


def test_of_joined_files_the_later_one_wins_whichever_option_it_gives(tmp_path: Path) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text("optim: {ema_decay: 0.5, batch_size: 2}")
    new.write_text("optim: {ema_half_life_images: 50, ema_ramp: 0.1}")
    after, before = (load_config(name).optim for name in (f"{old}+{new}", f"{new}+{old}"))
    assert (after.ema_half_life_images, after.ema_ramp) == (50, 0.1)
    assert (before.ema_half_life_images, before.ema_ramp) == (2, 0)


def test_one_feature_network_is_a_list_of_one() -> None:
    for given in ("efficientnet_lite0", ["efficientnet_lite0"]):
        tree = {"held_out": {"features": given, "best": "kd/efficientnet_lite0", "data": ""}}
        assert check_config(tree, "old.yaml").held_out.features == ("efficientnet_lite0",)
    with pytest.raises(UsageError, match="features efficientnet_lite1: give untrained"):
        check_config({"held_out": {"features": "efficientnet_lite1"}}, "old.yaml")
