"""Batch norm in the methods: one kind of images in each call, and running statistics as of the published updates."""

import copy

import pytest
import torch
from torch import Tensor, nn

from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.methods.pix2pix_config import Pix2PixConfig
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.update import Step

ALONE = World(0, 1, torch.device("cpu"))
SMALL = {
    "generator": GeneratorConfig(ngf=2, n_blocks=1, norm="batch"),
    "discriminator": DiscriminatorConfig(ndf=2, n_layers_D=1, norm="batch"),
}


def images(count: int = 2) -> dict[str, Tensor]:
    return {f"real_{domain}": torch.rand(count, 3, 16, 16) * 2 - 1 for domain in "AB"}


def calls(config: CycleGANConfig) -> dict[str, list[int]]:
    """How many images each call of a network gets in one pass over all players."""
    torch.manual_seed(0)
    method = CycleGAN(config)
    found: dict[str, list[int]] = {name: [] for name in method.networks}
    for name, network in method.networks.items():
        network.register_forward_hook(lambda _, args, __, name=name: found[name].append(len(args[0])))
    seen = images()
    for player in method.players:
        seen |= player.module(**player.inputs(seen)).images
    return found


def test_no_call_has_images_of_two_kinds() -> None:
    found = calls(CycleGANConfig(**SMALL))  # pyright: ignore[reportArgumentType]
    assert found == {name: [2, 2, 2] for name in ("G_AB", "G_BA", "D_A", "D_B")}
    mixed = calls(CycleGANConfig(generator=SMALL["generator"], discriminator=DiscriminatorConfig(ndf=2, n_layers_D=1)))  # pyright: ignore
    assert (mixed["G_AB"], mixed["D_A"]) == ([2, 2, 2], [2, 4])  # with instance norm they are joined


def test_losses_are_those_of_separate_calls() -> None:
    torch.manual_seed(0)
    config = CycleGANConfig(**SMALL)  # pyright: ignore[reportArgumentType]
    method, real = CycleGAN(config), images()
    networks = copy.deepcopy(method.networks)
    output = method.players[0].module(**real)
    fake_B = networks["G_AB"](real["real_A"])
    idt_B = (networks["G_AB"](real["real_B"]) - real["real_B"]).abs().mean()
    assert output.values["idt_B"].item() == pytest.approx(idt_B.item(), rel=1e-6)
    judged = method.players[1].module(**method.players[1].inputs(real | output.images))
    D = networks["D_B"]
    loss = 0.5 * ((D(real["real_B"]) - 1).square().mean() + D(fake_B).square().mean())
    assert judged.values["D_B"].item() == pytest.approx(loss.item(), rel=1e-5)


def counted(network: nn.Module) -> int:
    return next(int(value) for name, value in network.named_buffers() if name.endswith("num_batches_tracked"))


def test_pix2pix_counts_a_batch_once_although_both_players_need_its_translation() -> None:
    torch.manual_seed(0)
    generator = GeneratorConfig(arch="unet", ngf=2, n_downs=5, norm="batch")
    method = Pix2PixConfig(generator=generator, discriminator=SMALL["discriminator"]).build(rank_seed=0)  # pyright: ignore
    step = Step(method, OptimConfig(), ALONE)
    real = {name: torch.rand(2, 3, 32, 32) * 2 - 1 for name in ("real_A", "real_B")}
    for _ in range(3):
        step([real], lr=2e-4)
    assert counted(method.networks["G_AB"]) == 3
    assert counted(method.networks["D_B"]) == 9  # real, fake, and fake for the generator


def test_state_and_average_hold_the_running_statistics() -> None:
    def made(seed: int) -> Step:
        torch.manual_seed(seed)
        return Step(CycleGAN(CycleGANConfig(**SMALL)), OptimConfig(ema_half_life_images=4.0), ALONE)  # pyright: ignore

    step, real = made(0), images()
    step([real], lr=2e-4)
    other = made(1)
    other.load_state_dict(copy.deepcopy(step.state_dict()))
    for name, network in step.translators.items():
        assert counted(network) == 3
        trained = step.method.translators[name].eval()
        assert torch.equal(network.eval()(real["real_A"]), trained(real["real_A"]))  # the first average is the value
        assert torch.equal(other.translators[name].eval()(real["real_A"]), trained(real["real_A"]))
        trained.train()


def test_the_gradient_penalty_refuses_batch_norm_in_the_discriminator() -> None:
    with pytest.raises(UsageError, match=r"^the gradient penalty is .* give method.discriminator.norm instance, or"):
        CycleGANConfig(gan_mode="wgangp", **SMALL)  # pyright: ignore[reportArgumentType]
    CycleGANConfig(gan_mode="wgangp", lambda_gp=0, **SMALL)  # pyright: ignore[reportArgumentType]
