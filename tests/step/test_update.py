"""Tests that one update is the same over ranks, micro-batches and precisions."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig, GradientPenaltyConfig
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.finite import NonFiniteError
from cyclegan_dist.step.update import Step
from tests.ranks import run_ranks

ALONE = World(0, 1, torch.device("cpu"))
BATCH, STEPS = 4, 10
SPECTRAL = DiscriminatorConfig(ndf=4, n_layers_D=1, spectral_norm=True)
ALL = ("colour", "translation", "cutout")
REGULARISED = {"discriminator": SPECTRAL, "gradient_penalty": GradientPenaltyConfig(at="both"), "diff_augment": ALL}


def build(world: World = ALONE, optim: OptimConfig | None = None, seed: int = 0, **method) -> Step:
    torch.manual_seed(seed)
    small = {"generator": GeneratorConfig(ngf=4, n_blocks=1), "discriminator": DiscriminatorConfig(ndf=4, n_layers_D=1)}
    config = CycleGANConfig(**{"pool_size": 0, **small, **method})
    return Step(CycleGAN(config, rank_seed=world.rank), optim or OptimConfig(precision="fp64"), world)


def batch(step: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1000 + step)
    a, b = (torch.rand(BATCH, 3, 16, 16, generator=rng, dtype=torch.float64) * 2 - 1 for _ in range(2))
    return a.to(dtype), b.to(dtype)


def outputs(step: Step) -> Tensor:
    """Outputs of all four networks for one probe."""
    probe = batch(-1, step.dtype)[0]
    return torch.cat([network(probe).detach().flatten() for network in step.method.networks.values()])


def train(world: World, micro: int, **method) -> Tensor:
    """Train ten steps on this rank's share of each batch, `micro` images at a time."""
    step = build(world, **method)
    share = BATCH // world.size
    for number in range(STEPS):
        a, b = (x[world.rank * share : (world.rank + 1) * share] for x in batch(number))
        pieces = [{"real_A": x, "real_B": y} for x, y in zip(a.split(micro), b.split(micro), strict=True)]
        step(pieces, lr=2e-4)
    return outputs(step)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("options", [{}, {"gan_mode": "vanilla"}, REGULARISED], ids=str)
def test_ranks_together_equal_one_rank(size, options) -> None:
    alone = train(ALONE, BATCH, **options)
    for answer in run_ranks(lambda world: train(world, BATCH // size, **options), size):
        assert (answer - alone).abs().max() < 1e-10


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("options", [{}, REGULARISED], ids=str)
def test_accumulation_equals_one_large_batch(size, options) -> None:
    alone = train(ALONE, BATCH, **options)
    work: Callable[[World], Tensor] = lambda world: train(world, 1, **options)  # noqa: E731
    answers = run_ranks(work, size) if size > 1 else [work(ALONE)]
    for answer in answers:
        assert (answer - alone).abs().max() < 1e-10


@pytest.mark.parametrize(
    "weights", [{"lambda_GAN_AB": 0.0, "lambda_GAN_BA": 0.0}, {"lambda_GAN_BA": 0.0}, {"lambda_cycle_B": 0.0}]
)
def test_ablations_train_on_several_ranks(weights) -> None:
    """A network without gradients would make DistributedDataParallel fail in the second step."""
    first, second = run_ranks(lambda world: train(world, 2, **weights), 2)
    assert torch.equal(first, second)


def test_wgangp_trains_on_several_ranks_and_keeps_them_equal() -> None:
    first, second = run_ranks(lambda world: train(world, 2, gan_mode="wgangp"), 2)
    assert torch.equal(first, second)


def test_a_non_finite_value_on_one_rank_stops_all_ranks_before_a_weight_changes() -> None:
    def work(world: World) -> tuple[str, bool]:
        step = build(world)
        share = BATCH // world.size
        a, b = (x[world.rank * share : (world.rank + 1) * share] for x in batch(0))
        step([{"real_A": a, "real_B": b}], lr=2e-4)
        before = outputs(step)
        if world.rank == 1:
            a[0, 0, 0, 0] = float("nan")
        try:
            step([{"real_A": a, "real_B": b}], lr=2e-4)
        except NonFiniteError as error:
            return str(error), torch.equal(before, outputs(step))
        return "no error", False

    for message, unchanged in run_ranks(work, 2):
        assert "player G" in message
        assert unchanged


def test_discriminators_get_no_gradient_from_the_generators_loss() -> None:
    step, computed = build(), []
    for domain in "AB":
        for parameter in step.method.networks[f"D_{domain}"].parameters():
            parameter.register_hook(lambda gradient, name=domain: computed.append(name))
    parameters = sum(len(list(step.method.networks[f"D_{domain}"].parameters())) for domain in "AB")
    a, b = batch(0)
    step([{"real_A": a, "real_B": b}], lr=2e-4)
    assert len(computed) == parameters  # once each, by their own loss
    assert all(p.requires_grad for p in step.method.networks.parameters())


def test_bf16_stays_close_to_fp32_and_keeps_weights_in_fp32() -> None:
    answers = []
    for precision in ("fp32", "bf16"):
        step = build(optim=OptimConfig(precision=precision))
        for number in range(3):
            a, b = batch(number, torch.float32)
            losses = step([{"real_A": a, "real_B": b}], lr=2e-4)
        assert all(value.dtype == torch.float32 for value in losses.values())
        assert all(p.dtype == torch.float32 for p in step.method.networks.parameters())
        answers.append(float(losses["G"]))
    assert answers[0] != answers[1]
    assert answers[1] == pytest.approx(answers[0], rel=0.02)


@pytest.mark.parametrize("optim", [OptimConfig(), OptimConfig(ema_half_life_images=20.0)])
def test_a_step_stays_on_the_networks_device_and_reads_one_value_from_it(optim, monkeypatch) -> None:
    """Each read from a GPU synchronises with it. On the meta device, other reads and tensors of other devices are
    errors.
    """
    reads, original = list[Tensor](), Tensor.__bool__

    def read(value: Tensor) -> bool:
        if value.device.type == "cpu":  # the history buffer's random numbers
            return original(value)
        reads.append(value)
        return True

    monkeypatch.setattr(Tensor, "__bool__", read)
    step = build(World(0, 1, torch.device("meta")), optim, pool_size=6)
    for number in range(4):  # enough for the history buffer to be full
        reads.clear()
        a, b = (x.to("meta") for x in batch(number, torch.float32))
        losses = step([{"real_A": a[:2], "real_B": b[:2]}, {"real_A": a[2:], "real_B": b[2:]}], lr=2e-4)
        assert len(reads) == 1
    assert {value.device.type for value in losses.values()} == {"meta"}


def test_the_optimizer_state_contains_parameter_names() -> None:
    step = build()
    a, b = batch(0)
    step([{"real_A": a, "real_B": b}], lr=2e-4)
    group = step.state_dict()["optimizers"]["G"]["param_groups"][0]
    assert group["param_names"][0] == "G_AB.model.1.weight"
    assert len(group["param_names"]) == len(step.state_dict()["optimizers"]["G"]["state"])


@pytest.mark.parametrize(("batch_size", "micro", "ranks"), [(3, 0, 2), (1, 0, 2), (4, 3, 1)])
def test_uneven_shares_are_refused(batch_size, micro, ranks) -> None:
    with pytest.raises(UsageError, match="batch_size"):
        OptimConfig(batch_size=batch_size, micro_batch=micro).micro_batches(ranks)


def test_learning_rate_scaling() -> None:
    rates = [OptimConfig(batch_size=4, lr=1.0, lr_scaling=s).learning_rate() for s in ("none", "sqrt", "linear")]
    assert rates == [1, 2, 4]


@pytest.mark.parametrize("fast", ["on", "off"])
def test_each_player_has_its_own_decay_rates(fast) -> None:
    step = build(optim=OptimConfig(beta1=0.4, beta2=0.8, beta1_D=0.0, fast=fast))
    betas = {name: one["param_groups"][0]["betas"] for name, one in step.state_dict()["optimizers"].items()}
    assert betas == {"G": (0.4, 0.8), "D": (0.0, 0.8)}
    with pytest.raises(UsageError, match=r"optim.beta2_D -0.5"):
        OptimConfig(beta2_D=-0.5)
