"""A resumed run equals an uninterrupted one, bit for bit, with any number of ranks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.step.distributed import World
from cyclegan_dist.training.run_folder import draw_synthetic
from cyclegan_dist.training.trainer import build
from tests.ranks import run_ranks
from tests.shallow import cut_off_frozen_networks
from tests.training.trainings import differences, final_state, go, go_on, records

MakeRun = Callable[..., Config]
SWITCHES: dict[str, Any] = {
    "method__diff_augment": ["colour", "translation", "cutout"],
    "method__discriminator__spectral_norm": True,
    "method__gradient_penalty": {"at": "mix"},
    "method__cycle_ramp_images": 30,
    "method__lambda_cycle_end": 0.1,
    "schedule__timing": "image",
    "optim__beta1_D": 0.0,
    "optim__ema_half_life_images": 20.0,
}


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_resumed_equals_uninterrupted(tiny_run: MakeRun, ranks: int) -> None:
    options = {"optim__batch_size": 12, "every__checkpoint": 0}
    whole = tiny_run(name="whole", **options)
    go_on(ranks, whole)
    expected = final_state(whole, ranks)
    assert len(expected[1]["method"]["A"]["images"]) == 3
    for images in (12, 24):  # in the middle of an epoch, and in the next; an epoch is ten images
        cut = {"name": f"cut{images}", **options}
        go_on(ranks, tiny_run(stop_after=images, **cut))
        go_on(ranks, tiny_run(**cut))
        assert differences(expected, final_state(tiny_run(**cut), ranks)) == [], images


def test_resumed_equals_uninterrupted_with_all_switches_in_bf16_on_four_ranks(tiny_run: MakeRun) -> None:
    options = {"optim__batch_size": 4, "optim__precision": "bf16", **SWITCHES}
    whole = tiny_run(name="whole", stop_after=24, **options)
    go_on(4, whole)
    go_on(4, tiny_run(name="cut", stop_after=12, **options))
    resumed = tiny_run(name="cut", stop_after=24, **options)
    go_on(4, resumed)
    assert differences(final_state(whole, 4), final_state(resumed, 4)) == []


@pytest.mark.parametrize(
    "options",
    [
        {**SWITCHES, "optim__ema_half_life_images": 0.0},
        {"optim__ema_half_life_images": 20.0},
        {
            "method__projected": {"weight": 1.0, "size": 32},
            "method__lambda_NCE": 1.0,
            "method__discriminator__scales": 2,
        },
        {"optim__precision": "bf16"},
        {"schedule__policy": "plateau"},
        {"method__generator__dropout": True},
        {"method__gan_mode": "wgangp"},
        {"optim__micro_batch": 1, "data__workers": 1},
        {
            "method__generator__norm": "batch",
            "method__discriminator__norm": "batch",
            "optim__ema_half_life_images": 20.0,
        },
        {"data__direction": "BtoA", "data__max_samples": 5, "data__pairing": "serial"},
    ],
    ids=lambda options: next(iter(options)).split("__")[-1],
)
def test_resumed_equals_uninterrupted_with(
    tiny_run: MakeRun, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    cut_off_frozen_networks(monkeypatch)
    options = {"stop_after": 24, **options}  # an epoch is ten images: the second ends after the resumption
    whole = tiny_run(name="whole", **options)
    go(whole)
    go(tiny_run(name="cut", **{**options, "stop_after": 14}))
    resumed = tiny_run(name="cut", **options)
    go(resumed)
    assert differences(final_state(whole, 1), final_state(resumed, 1)) == []


SMALL: dict[str, Any] = {"generator": {"ngf": 4, "n_blocks": 1}, "discriminator": {"ndf": 4, "n_layers_D": 1}}


OWN: dict[str, dict[str, Any]] = {
    "bigan": {"pool_size": 3},
    "simgan": {"pool_size": 3},
    "feature_gan": {"pool_size": 3, "features_size": 16},
}


@pytest.mark.parametrize(
    ("name", "ranks"),
    [("cut", 1), ("dual_cut", 2), ("cogan", 1), ("bigan", 1), ("simgan", 1), ("feature_gan", 1)],
)
def test_resumed_equals_uninterrupted_with_the_method(tiny_run: MakeRun, name: str, ranks: int) -> None:
    """Random choices in losses are functions of the step, with nothing of them in a checkpoint; histories are there."""
    method = {"name": name, **SMALL, **OWN.get(name, {})}
    options = {"method": method, "optim__batch_size": 4, "every__checkpoint": 0, "every__snapshot": 0}
    whole = tiny_run(name="whole", stop_after=16, **options)
    go_on(ranks, whole)
    go_on(ranks, tiny_run(name="part", stop_after=8, **options))
    resumed = tiny_run(name="part", stop_after=16, **options)
    go_on(ranks, resumed)
    assert differences(final_state(whole, ranks), final_state(resumed, ranks)) == []


def test_the_comparison_above_can_fail(tiny_run: MakeRun) -> None:
    one, two = (tiny_run(name=f"seed{seed}", seed=seed, stop_after=8) for seed in (0, 1))
    go(one), go(two)
    assert differences(final_state(one, 1), final_state(two, 1))


def test_a_run_resumes_on_a_different_number_of_ranks(tiny_run: MakeRun) -> None:
    """History off, double precision: the same images in the same order, and outputs that agree to rounding."""
    options = {"method__pool_size": 0, "optim__precision": "fp64", "optim__batch_size": 4}
    whole = tiny_run(name="whole", **options)
    go(whole)
    for ranks, stop in ((2, 12), (4, 24), (1, 0)):
        go_on(ranks, tiny_run(name="changing", stop_after=stop, **options))
    one, two = (final_state(tiny_run(name=name, **options), 1)[0]["step"]["networks"] for name in ("whole", "changing"))
    weights = [key for key in one if key.endswith("weight")]  # biases before instance norm hold blown-up rounding noise
    assert max(float((one[key] - two[key]).abs().max()) for key in weights) < 1e-9


def test_history_is_redistributed_to_a_different_number_of_ranks(tiny_run: MakeRun) -> None:
    options = {"method__pool_size": 2, "optim__batch_size": 4}
    go_on(2, tiny_run(stop_after=8, **options))
    before = [state["method"]["A"]["images"] for state in final_state(tiny_run(**options), 2)[1:]]
    config = tiny_run(stop_after=8, **options)

    def look(world: World) -> list[torch.Tensor]:
        parts = build(config, world, None)
        parts.state.restore(parts.store, print)
        return parts.method.history["A"].images

    redistributed = run_ranks(look, 4)
    together = [image for images in redistributed for image in images]
    assert len(together) == 4
    for image in (image for images in before for image in images):
        assert any(torch.equal(image, other) for other in together)


def test_a_resumed_run_does_not_record_a_step_twice(tiny_run: MakeRun) -> None:
    config = tiny_run(stop_after=20, every__checkpoint=8)
    go(config)
    newest = max((config.run_dir / "checkpoints").glob("step-*"))
    for path in newest.iterdir():  # as if it had died after logging and before its last checkpoint
        path.unlink()
    newest.rmdir()
    go(tiny_run(every__checkpoint=8))
    steps = [record["step"] for record in records(config) if record["kind"] == "metrics"]
    assert steps == sorted(set(steps))
    assert steps[-1] == 20
    assert any("resumed at step 8" in record.get("text", "") for record in records(config))


def test_a_finished_run_ends_immediately_when_started_again(tiny_run: MakeRun) -> None:
    config = tiny_run()
    go(config)
    before = final_state(config, 1)
    assert go(tiny_run()) == "FINISHED"
    assert differences(before, final_state(config, 1)) == []


def test_another_data_set_is_refused_on_resume_without_a_journal_too(tiny_run: MakeRun, tmp_path: Path) -> None:
    go(tiny_run(stop_after=8))
    draw_synthetic(tmp_path / "other", size=24, seed=0, count=10)
    (tmp_path / "runs" / "tiny" / "metrics.jsonl").unlink()
    with pytest.raises(UsageError, match="not the one that the checkpoint"):
        go(tiny_run(data__path=str(tmp_path / "other")))
