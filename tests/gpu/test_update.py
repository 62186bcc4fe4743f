"""Updates: a GPU's equal a CPU's, and those of a CUDA graph equal those of one kernel at a time.

Tolerances: losses and stored images relative to their size, weights relative to the way that they have come in twelve
updates. Measured on a CPU between `optim.fast` on and off: 1e-7, 1e-6 and 3e-3 in fp32; 1e-8, 3e-8 and 5e-8 in fp64,
where the learning rate is a tensor of fp32. On an H200, losses in fp32 differ by up to 1.6e-4 from those of a CPU, and so
do those of `on` and `off`; at the paper's widths, with eight updates, by 1.6e-3.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch

from cyclegan_dist.methods.cyclegan_config import GradientPenaltyConfig
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig
from cyclegan_dist.step.finite import NonFiniteError
from tests.gpu.steps import (
    BATCH,
    CPU,
    DISCRIMINATOR,
    GENERATOR,
    LR,
    STEPS,
    Trained,
    build,
    history_difference,
    images,
    loss_difference,
    moved_apart,
    train,
    weights,
)

TOLERANCE = {"fp32": (5e-4, 1e-3, 0.03), "fp64": (1e-6, 1e-6, 1e-5)}
METHODS = ["cyclegan", "pix2pix"]  # players together and in turn; with a history, and with dropout
DROPOUT = {"generator": replace(GENERATOR, dropout=True)}


def assert_alike(one: Trained, two: Trained, precision: str) -> None:
    losses, stored, moved = TOLERANCE[precision]
    assert loss_difference(one, two) < losses
    assert history_difference(one, two) < stored
    assert moved_apart(one, two) < moved


@pytest.mark.gpu
@pytest.mark.parametrize("fast", ["off", "on"])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_a_gpu_equals_a_cpu(gpu: torch.device, precision: str, name: str, fast: str) -> None:
    on_gpu, on_cpu = (train(build(where, name, precision=precision, fast=fast)) for where in (gpu, CPU))
    assert_alike(on_gpu, on_cpu, precision)


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_fast_equals_plain_in_losses_weights_and_history(device: torch.device, precision: str) -> None:
    fast, plain = (train(build(device, precision=precision, fast=choice)) for choice in ("on", "off"))
    assert_alike(fast, plain, precision)
    assert len(fast.rank_state["A"]["images"]) == 3 and fast.losses[-1]["G"] != fast.losses[0]["G"]


SPECTRAL_NORM = {"discriminator": replace(DISCRIMINATOR, spectral_norm=True)}
PENALTY = {"gradient_penalty": GradientPenaltyConfig(at="both")}
AUGMENTED = {"diff_augment": ("colour", "translation", "cutout")}


@pytest.mark.parametrize(
    ("precision", "method"),
    # Not all of them in fp32: the penalty's gradient has steps, which rounding crosses sooner or later.
    [("fp64", {**SPECTRAL_NORM, **PENALTY, **AUGMENTED}), ("fp32", SPECTRAL_NORM), ("fp32", PENALTY)],
    ids=["fp64-all", "fp32-spectral-norm", "fp32-penalty"],
)
def test_fast_equals_plain_with_a_regularised_discriminator(
    device: torch.device, precision: str, method: dict[str, Any]
) -> None:
    """Also where the penalty's gradients are differentiated in the recorded update."""
    fast, plain = (train(build(device, method=method, precision=precision, fast=on)) for on in ("on", "off"))
    assert_alike(fast, plain, precision)


def test_fast_draws_the_same_dropout(device: torch.device) -> None:
    fast, plain = (train(build(device, "pix2pix", DROPOUT, precision="fp64", fast=choice)) for choice in ("on", "off"))
    assert_alike(fast, plain, "fp64")
    without = train(build(device, "pix2pix", precision="fp64", fast="on"))
    assert loss_difference(fast, without) > 1e-3


@pytest.mark.parametrize("name", METHODS)
def test_micro_batches_equal_one_batch(device: torch.device, name: str) -> None:
    method = {"pool_size": 0} if name == "cyclegan" else {}
    whole, pieces = (
        train(build(device, name, method, precision="fp64", fast="on"), micro=micro) for micro in (BATCH, 1)
    )
    assert_alike(whole, pieces, "fp64")


def test_fast_averages_the_same_generators(device: torch.device) -> None:
    averaged = {"precision": "fp64", "ema_half_life_images": 20.0}
    fast, plain = (train(build(device, fast=choice, **averaged)) for choice in ("on", "off"))
    assert float((fast.averaged - plain.averaged).abs().max()) < 1e-7
    assert float((fast.averaged - fast.weights[1][: len(fast.averaged)]).abs().max()) > LR / 2


def test_a_smaller_batch_between_others_is_no_different(device: torch.device) -> None:
    """It does not fit the graph's buffers."""

    def trained(fast: str) -> Trained:
        step = build(device, precision="fp64", fast=fast)
        train(step, 6)
        step([images(6, step, count=1)], LR)
        return train(step, 3, first=7)

    assert_alike(trained("on"), trained("off"), "fp64")


def test_bf16_stays_close_to_fp32_with_weights_in_fp32(device: torch.device) -> None:
    step = build(device, precision="bf16", fast="on")
    low, full = train(step), train(build(device, precision="fp32", fast="on"))
    assert {p.dtype for p in step.method.networks.parameters()} == {torch.float32}
    assert 1e-6 < loss_difference(low, full) < 0.03


@pytest.mark.parametrize("good", [0, STEPS])  # in the first update, and in a replayed one
def test_a_value_that_is_not_finite_moves_no_weight(device: torch.device, good: int) -> None:
    step = build(device, fast="on", ema_half_life_images=20.0)
    train(step, good)
    before, averaged = weights(step), [p.clone() for p in step.translators["AB"].parameters()]
    bad = images(good, step)
    bad["real_A"][0, 0, 0, 0] = float("nan")
    losses = step([bad], LR)
    assert not losses["G"].isfinite()
    step([images(good + 1, step)], LR)  # the flag stays set
    with pytest.raises(NonFiniteError, match="gradient of player G is not finite, no weight was changed") as error:
        step.check()
    assert error.value.updates_ago == 1 and not torch.tensor(error.value.losses["cycle_A"]).isfinite()
    assert torch.equal(weights(step), before)
    assert good == 0 or all(map(torch.equal, averaged, step.translators["AB"].parameters()))


def test_a_checkpoint_moves_to_the_device_and_back(device: torch.device) -> None:
    """Training that changes device after four updates and after eight equals training on a CPU."""
    expected = train(build(CPU, precision="fp64", fast="off", ema_half_life_images=20.0))
    state: dict[str, Any] | None = None
    for first, where, fast in ((0, CPU, "off"), (4, device, "on"), (8, CPU, "off")):
        step = build(where, precision="fp64", fast=fast, ema_half_life_images=20.0)
        if state is not None:
            step.load_state_dict(state["step"])
            step.method.load_rank_state([state["method"]], 0, 1)
        done = train(step, 4, first=first)
        state = {"step": on_cpu(step.state_dict()), "method": on_cpu(step.method.rank_state())}
    assert_alike(
        Trained(expected.losses[8:], (expected.weights[0], done.weights[1]), done.averaged, done.rank_state),
        Trained(done.losses, expected.weights, expected.averaged, expected.rank_state),
        "fp64",
    )
    assert float((done.averaged - expected.averaged).abs().max()) < 1e-7


def on_cpu(tree: Any) -> Any:
    """A copy of nested tensors, as a checkpoint holds them."""
    if isinstance(tree, torch.Tensor):
        return tree.detach().cpu().clone()
    if isinstance(tree, dict):
        return {key: on_cpu(value) for key, value in tree.items()}
    return [on_cpu(value) for value in tree] if isinstance(tree, list) else tree


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_papers_layers_train_fast(gpu: torch.device, precision: str) -> None:
    """The widths of the paper at 128 pixels, one image at a time."""
    losses: list[list[float]] = []
    for fast in ("on", "off"):
        method = {"generator": GeneratorConfig(n_blocks=2), "discriminator": DiscriminatorConfig()}
        step = build(gpu, "cyclegan", method, precision=precision, fast=fast)
        rng = torch.Generator().manual_seed(7)
        made = []
        for _ in range(8):
            a, b = (torch.rand(2, 1, 3, 128, 128, generator=rng) * 2 - 1).to(gpu)
            made.append(step([{"real_A": a, "real_B": b}], LR)["G"])
        step.check()
        losses.append([float(value) for value in made])
    assert losses[0] == pytest.approx(losses[1], rel=5e-3 if precision == "fp32" else 0.03)


@pytest.mark.gpu
def test_unusual_networks_train_fast(gpu: torch.device) -> None:
    """Grey images, replicated and zero padding, pixel discriminators."""
    for padding in ("replicate", "zero"):
        method = {
            "input_nc": 1,
            "lambda_identity": 0.0,
            "generator": replace(GENERATOR, padding=padding),
            "discriminator": replace(DISCRIMINATOR, arch="pixel"),
        }
        made = []
        for fast in ("on", "off"):
            step = build(gpu, "cyclegan", method, precision="fp64", fast=fast)
            for number in range(6):
                batch = images(number, step)
                losses = step([{"real_A": batch["real_A"][:, :1], "real_B": batch["real_B"]}], LR)
            step.check()
            made.append({name: float(value) for name, value in losses.items()})
        assert made[0] == pytest.approx(made[1], rel=1e-5)
