"""The file of a training's state: everything by name, without code."""

import re
from pathlib import Path

import pytest
import torch

from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.training_state import STATE, TrainingState, file_sha256
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.update import Step
from tests.step.test_update import batch, build
from tests.training.trainings import differences


def trained(**optim: float) -> Step:
    step = build(optim=OptimConfig(**optim))  # pyright: ignore[reportArgumentType]
    a, b = batch(0, torch.float32)
    step([{"real_A": a, "real_B": b}], lr=2e-3)
    return step


def test_a_step_begins_where_another_ended(tmp_path: Path) -> None:
    one = trained(ema_half_life_images=20.0)
    sha256 = TrainingState.of_step(one.state_dict(), {"step": 1}).save(tmp_path / STATE)
    assert sha256 == file_sha256(tmp_path / STATE)
    state = TrainingState.read(tmp_path / STATE)
    assert state.facts == {"step": 1}
    other = build(optim=OptimConfig(ema_half_life_images=20.0), seed=7)
    other.load_state_dict(state.into(other.state_dict()))
    # The learning rate is set in every step.
    assert {place.rpartition("/")[2] for place in differences(one.state_dict(), other.state_dict())} <= {"lr"}


def test_parts_that_are_missing_stay_as_they_are() -> None:
    one, other = trained(ema_half_life_images=20.0), build(optim=OptimConfig(ema_half_life_images=4.0), seed=7)
    networks = TrainingState.of_step(one.state_dict(), {}).networks
    only = TrainingState({name: x for name, x in networks.items() if name.startswith("G_")})
    before = {name: x.clone() for name, x in other.state_dict()["networks"].items()}
    other.load_state_dict(only.into(other.state_dict()))
    after = other.state_dict()
    for name, x in after["networks"].items():
        assert torch.equal(x, (networks if name.startswith("G_") else before)[name])
    assert after["optimizers"]["G"]["state"] == {} and int(after["ema"]["n_averaged"]) == 0


@pytest.mark.parametrize("damage", ["gone", "empty", "noise", "other", "cut"])
def test_damaged_files_are_named(damage: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / STATE
    TrainingState({"G.weight": torch.ones(3)}).save(path)
    if damage == "gone":
        path.unlink()
    elif damage == "other":
        save_file({"x": torch.ones(1)}, path)
    else:
        path.write_bytes({"empty": b"", "noise": b"noise" * 9, "cut": path.read_bytes()[:40]}[damage])
    with pytest.raises(UsageError, match=f"training state {re.escape(str(path))} is missing or damaged"):
        TrainingState.read(path)
