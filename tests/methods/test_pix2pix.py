"""pix2pix against the published order of updates, written independently here, and on several ranks."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.pix2pix_config import Pix2PixConfig
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig, InitConfig
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.finite import NonFiniteError
from cyclegan_dist.step.update import Step
from tests.ranks import run_ranks

ALONE = World(0, 1, torch.device("cpu"))
STEPS, BATCH = 20, 4


def build(world: World = ALONE, precision: str = "fp64", **options: object) -> Step:
    torch.manual_seed(0)
    small: dict = {
        "generator": GeneratorConfig(arch="unet", ngf=4, n_downs=6, dropout=True),
        "discriminator": DiscriminatorConfig(ndf=4, n_layers_D=2),
        "init": InitConfig(kind="xavier", gain=1.0),
    }
    method = Pix2PixConfig(**{**small, **options}).build(rank_seed=world.rank)  # pyright: ignore
    return Step(method, OptimConfig(precision=precision), world)  # pyright: ignore


def pair(number: int) -> tuple[Tensor, Tensor]:
    real = torch.rand(2, BATCH, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(number))
    return real[0] * 2 - 1, real[1] * 2 - 1


def published_update(
    G: nn.Module, D: nn.Module, adam: tuple[torch.optim.Adam, torch.optim.Adam], a: Tensor, b: Tensor
) -> None:
    """One forward of G; D on its detached output, then G against the D that has just moved."""
    adam_g, adam_d = adam
    fake = G(a)
    D.requires_grad_(True)
    adam_d.zero_grad()
    said_fake, said_real = D(torch.cat((a, fake.detach()), 1)), D(torch.cat((a, b), 1))
    loss_fake = F.binary_cross_entropy_with_logits(said_fake, torch.zeros_like(said_fake))
    loss_real = F.binary_cross_entropy_with_logits(said_real, torch.ones_like(said_real))
    ((loss_fake + loss_real) * 0.5).backward()
    adam_d.step()
    D.requires_grad_(False)
    adam_g.zero_grad()
    said_fake = D(torch.cat((a, fake), 1))
    loss = F.binary_cross_entropy_with_logits(said_fake, torch.ones_like(said_fake))
    (loss + 100 * F.l1_loss(fake, b)).backward()
    adam_g.step()


def test_twenty_steps_equal_the_published_order_with_its_dropout() -> None:
    step = build()
    G, D = (copy.deepcopy(step.method.networks[name]) for name in ("G_AB", "D_B"))
    adam = (
        torch.optim.Adam(G.parameters(), lr=2e-4, betas=(0.5, 0.999)),
        torch.optim.Adam(D.parameters(), lr=2e-4, betas=(0.5, 0.999)),
    )
    probe = pair(99)
    start = G.eval()(probe[0])
    G.train()
    for number in range(STEPS):
        a, b = pair(number)
        torch.manual_seed(number)
        step([{"real_A": a, "real_B": b}], lr=2e-4)
        torch.manual_seed(number)
        published_update(G, D, adam, a, b)
    ours = step.method.networks["G_AB"]
    assert (ours.eval()(probe[0]) - start).abs().max() > 1e-2, "it did not train"
    assert (ours(probe[0]) - G.eval()(probe[0])).abs().max() < 1e-10
    judged = torch.cat(probe, 1)
    assert (step.method.networks["D_B"](judged) - D(judged)).abs().max() < 1e-10


def train(world: World, micro_batch: int = BATCH) -> Tensor:
    """What the generator makes of an image after some steps; this rank's share of each batch in micro-batches."""
    step = build(world, generator=GeneratorConfig(ngf=4, n_blocks=1))
    share = BATCH // world.size
    micro_batch = min(micro_batch, share)
    for number in range(5):
        a, b = (x[world.rank * share : (world.rank + 1) * share] for x in pair(number))
        pieces = [
            {"real_A": a[i : i + micro_batch], "real_B": b[i : i + micro_batch]} for i in range(0, share, micro_batch)
        ]
        step(pieces, lr=2e-4)
    return step.translators["AB"](pair(99)[0]).detach()


@pytest.mark.parametrize("size", [2, 4])
def test_ranks_together_equal_one_rank(size: int) -> None:
    alone = train(ALONE)
    for answer in run_ranks(train, size):
        assert (answer - alone).abs().max() < 1e-10


def test_micro_batches_equal_one_batch() -> None:
    assert (train(ALONE, micro_batch=1) - train(ALONE)).abs().max() < 1e-10


def test_a_resumed_pair_of_ranks_adds_up_in_the_same_order() -> None:
    """The rehearsal plays D first, on what G makes: without its inputs it would fail on two ranks."""
    first, second = run_ranks(lambda world: train(world), 2)
    assert torch.equal(first, second)


def test_without_the_adversarial_weight_the_discriminator_does_not_play() -> None:
    step = build(lambda_GAN=0.0)
    a, b = pair(0)
    assert set(step([{"real_A": a, "real_B": b}], lr=2e-4)) == {"L1_B", "G"}


def test_a_discriminator_may_learn_at_its_own_rate() -> None:
    step = build()
    assert step.learning_rates(2e-4) == {"D": 2e-4, "G": 2e-4}
    step.config = OptimConfig(lr=2e-4, lr_D=5e-5)
    assert step.learning_rates(1e-4) == {"D": 2.5e-5, "G": 1e-4}


def test_an_error_says_which_player_had_moved_before_the_one_that_failed() -> None:
    step = build()
    a, b = pair(0)
    next(step.method.networks["G_AB"].parameters()).register_hook(lambda gradient: gradient * float("nan"))
    before = [p.clone() for p in step.method.networks["G_AB"].parameters()]
    with pytest.raises(NonFiniteError, match="player G is not finite, player D has moved before it"):
        step([{"real_A": a, "real_B": b}], lr=2e-4)
    assert all(torch.equal(p, q) for p, q in zip(before, step.method.networks["G_AB"].parameters(), strict=True))


def test_its_options_are_checked() -> None:
    from cyclegan_dist.config.config import check_config

    with pytest.raises(UsageError, match=r"lambda_L1: must be greater than 0"):
        check_config({"method": {"name": "pix2pix", "lambda_L1": 0}}, "x")
    with pytest.raises(UsageError, match=r"unknown key method\.lambda_cycle_A"):
        check_config({"method": {"name": "pix2pix", "lambda_cycle_A": 1}}, "x")
    method = check_config({"method": {"name": "pix2pix", "generator": {"ngf": 8}}}, "x").method
    assert (method.generator.ngf, method.generator.arch, method.generator.dropout) == (8, "unet", True)
    with pytest.raises(UsageError, match="no method 'pix2pex': did you mean pix2pix"):
        check_config({"method": {"name": "pix2pex"}}, "x")
