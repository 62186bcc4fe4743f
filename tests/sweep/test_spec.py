"""Mistakes in a sweep file are reported before anything starts."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cyclegan_dist.config.config import dump_config
from cyclegan_dist.config.shipped import shipped
from cyclegan_dist.errors import UsageError
from cyclegan_dist.sweep.sampling import draw_all
from cyclegan_dist.sweep.spec import load_sweep, value_of

GOOD: dict[str, Any] = {
    "base": "demo",
    "space": {"method.pool_size": {"choice": [0, 50]}, "optim.lr": {"loguniform": [1e-4, 1e-2]}},
    "num_trials": 4,
    "scheduler": "none",
}


def write(folder: Path, **changes: Any) -> str:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}))
    return str(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"overrides": {"data.pth": "x"}}, "unknown key data.pth, did you mean data.path?"),
        ({"schedular": "asha"}, "unknown key schedular, did you mean scheduler?"),
        (
            {"space": {"method.lambda_cycle": {"choice": [1]}}},
            "unknown key method.lambda_cycle, did you mean method.lamb",
        ),
        ({"space": {"method.pool_size": {"chioce": [1]}}}, "unknown key chioce, did you mean choice?"),
        ({"space": {"method.pool_size": [1, 2]}}, "say how to choose"),
        ({"space": {"method.pool_size": {"choice": [1], "grid": [2]}}}, "one of choice, grid"),
        ({"space": {"method.pool_size": {"choice": []}}}, "not none"),
        ({"space": {"optim.lr": {"uniform": [2, 1]}}}, "the first must be less"),
        ({"space": {"optim.lr": {"loguniform": [0, 1]}}}, "must be above 0"),
        ({"space": {"optim.lr": {"uniform": [-1, 1]}}}, "optim.lr"),
        ({"space": {"data.crop_size": {"choice": [64, 66]}, "data.preprocess": {"choice": ["crop"]}}}, "multiple of 4"),
        ({"space": {"method.pool_size": {"choice": [0, "many"]}}}, "method.pool_size"),
        ({"space": {"world.num_workers": {"choice": [1, 2]}}}, "set by the sweep itself"),
        ({"space": {}}, "space is missing"),
        ({"base": ""}, "base is missing"),
        ({"base": "horse"}, "did you mean horse2zebra?"),
        ({"overrides": {"optim.learning": 1}}, "unknown key optim.learning"),
        ({"metric": "loss/cicle_A"}, "did you mean loss/cycle_A?"),
        ({"metric": "eval/cycle_l1"}, "set held_out.data"),
        (
            {"metric": "kd/efficientnet_lite0", "overrides": {"held_out.data": "x", "every.snapshot": 10}},
            "metric kd/efficientnet_lite0 is not measured with features untrained",
        ),
        (
            {
                "metric": "kd/efficientnet_lite0",
                "overrides": {
                    "held_out.data": "x",
                    "every.snapshot": 10,
                    "held_out.features": "efficientnet_lite0",
                },
            },
            "held_out.best kd/untrained is not measured with features efficientnet_lite0",
        ),
        (
            {
                "metric": "kd/efficientnet_lite0",
                "overrides": {
                    "held_out.data": "x",
                    "every.snapshot": 10,
                    "held_out.features": "efficientnet_lite0",
                    "method.projected.weight": 1,
                },
            },
            "was trained with efficientnet_lite0, which cannot evaluate it",
        ),
        ({"overrides": {"every.log": 0}}, "writes no losses"),
        ({"scheduler": "asha", "max_images": 100, "grace_images": 200}, "0 < grace_images < max_images"),
        ({"scheduler": "pbt"}, "scheduler"),
        ({"sampler": "grid"}, "give optim.lr as grid or choice"),
        ({"num_trials": 0}, "needs num_trials"),
        (
            {"sampler": "optuna", "space": {"method.pool_size": {"grid": [0, 50]}}},
            "does not take grids: give method.pool_size as choice",
        ),
        ({"workers_per_trial": 3}, "batch_size"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_sweep(write(tmp_path, **changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_that_do_not_fit_together_are_refused_with_the_trial(tmp_path: Path) -> None:
    space = {"schedule.n_epochs": {"grid": [1, 0]}, "schedule.n_epochs_decay": {"grid": [1, 0]}}
    spec = load_sweep(write(tmp_path, space=space, sampler="grid"))
    with pytest.raises(UsageError, match=r"trial-0003.*nothing to train"):
        draw_all(spec)


def test_a_trial_is_the_base_with_overrides_and_values(tmp_path: Path) -> None:
    space = {"method.lambda_cycle_A, method.lambda_cycle_B": {"choice": [7]}, "preset": {"choice": ["gan_alone"]}}
    spec = load_sweep(write(tmp_path, space=space, overrides={"optim.lr": 0.5, "method.pool_size": 9}))
    assert spec.name == "mine"
    config = spec.config({"method.lambda_cycle_A, method.lambda_cycle_B": 7, "preset": "gan_alone"})
    assert (config.method.lambda_cycle_A, config.method.lambda_cycle_B) == (7, 7)
    assert (config.optim.lr, config.method.pool_size) == (0.5, 9)
    assert config.method.lambda_identity == 0  # of the preset


def test_a_variant_is_values_that_belong_together(tmp_path: Path) -> None:
    variants = {"plain": {}, "mine": {"preset": "gan_alone", "optim.lr,optim.lr_D": 0.1, "method.pool_size": 3}}
    space = {"variant": {"grid": ["plain", "mine"]}, "method.pool_size": {"grid": [7]}}
    spec = load_sweep(write(tmp_path, variants=variants, space=space, sampler="grid", metric=""))
    plain, mine = (spec.config(trial.values) for trial in draw_all(spec))
    assert (plain.method.lambda_cycle_A, plain.method.pool_size) == (10, 7)
    assert (mine.method.lambda_cycle_A, mine.optim.lr, mine.optim.lr_D) == (0, 0.1, 0.1)
    assert mine.method.pool_size == 7  # the space's own
    with pytest.raises(UsageError, match=r"no variant 'mien': did you mean mine\?"):
        load_sweep(write(tmp_path, variants=variants, space={"variant": {"grid": ["mien"]}}, sampler="grid"))


def test_trials_without_a_metric_cannot_be_stopped_by_it(tmp_path: Path) -> None:
    assert value_of({"G": 1.0, "lr/G": 2.0}, "") is None
    for changes in ({"scheduler": "asha", "max_images": 9, "grace_images": 3}, {"sampler": "optuna"}):
        with pytest.raises(UsageError, match="metric is missing"):
            load_sweep(write(tmp_path, metric="", **changes))


def test_the_command_line_adds_to_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, overrides={"optim.lr": 0.5})
    spec = load_sweep(path, {"name": "other", "overrides": {"every.log": 7}})
    assert (spec.name, spec.overrides) == ("other", {"optim.lr": 0.5, "every.log": 7})


@pytest.mark.parametrize("name", shipped("sweep"))
def test_shipped_sweeps_are_good(name: str) -> None:
    trials = draw_all(load_sweep(name))
    assert len({str(trial.values) for trial in trials}) == len(trials) > 4


def test_the_ablations_are_the_papers(tmp_path: Path) -> None:
    spec = load_sweep("ablations")
    weights = [
        (m.lambda_GAN_AB, m.lambda_GAN_BA, m.lambda_cycle_A, m.lambda_cycle_B, m.lambda_identity)
        for m in (spec.config(trial.values).method for trial in draw_all(spec))
    ]
    assert weights == [(1, 1, 10, 10, 0), (0, 0, 10, 10, 0), (1, 1, 0, 0, 0), (1, 1, 10, 0, 0), (1, 1, 0, 10, 0)]


def test_a_metric_without_its_direction_is_the_mean_of_both() -> None:
    values = {"loss/cycle_A": 1.0, "loss/cycle_B": 3.0, "loss/G": 5.0, "loss/G_AB": 9.0}
    assert value_of(values, "loss/cycle") == 2
    assert value_of(values, "loss/cycle_B") == 3
    assert value_of(values, "kd/untrained") is None


def test_reading_a_sweep_loads_nothing_slow() -> None:
    code = "import sys, cyclegan_dist.sweep.spec; print({'torch', 'ray', 'mlflow', 'matplotlib', 'optuna'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_a_user_file_can_be_the_base(tmp_path: Path, tiny_run: Callable[..., Any]) -> None:
    (tmp_path / "tiny.yaml").write_text(dump_config(tiny_run()))
    assert load_sweep(write(tmp_path, base=str(tmp_path / "tiny.yaml"))).config({}).data.crop_size == 16
