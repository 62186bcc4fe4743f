"""Tests of ablations: images that no term needs are not computed, and generators without a loss are refused."""

import pytest
import torch

from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig

SMALL = {"generator": GeneratorConfig(ngf=2, n_blocks=0), "discriminator": DiscriminatorConfig(ndf=2, n_layers_D=1)}
PRESETS = {
    "all": {},
    "no identity": {"lambda_identity": 0.0},
    "gan alone": {"lambda_cycle_A": 0.0, "lambda_cycle_B": 0.0},
    "cycle alone": {"lambda_GAN_AB": 0.0, "lambda_GAN_BA": 0.0, "lambda_identity": 0.0},
    "forward only": {"lambda_cycle_B": 0.0, "lambda_identity": 0.0},
    "backward only": {"lambda_cycle_A": 0.0, "lambda_identity": 0.0},
}


def play(weights: dict[str, float]) -> tuple[dict[str, int], set[str]]:
    """Number of images per network in one pass over all players, and the computed terms."""
    method = CycleGAN(CycleGANConfig(**SMALL, **weights))
    counts = dict.fromkeys(method.networks, 0)
    for name, network in method.networks.items():
        network.register_forward_hook(lambda _, args, __, name=name: counts.update({name: counts[name] + len(args[0])}))
    images = {"real_A": torch.rand(1, 3, 16, 16), "real_B": torch.rand(1, 3, 16, 16)}
    terms: set[str] = set()
    for player in method.players:
        output = player.module(**player.inputs(images))
        images |= output.images
        terms |= set(output.values)
    return counts, terms


@pytest.mark.parametrize(
    ("preset", "generator_images", "discriminator_images"),
    [
        ("all", (3, 3), (3, 3)),
        ("no identity", (2, 2), (3, 3)),
        ("gan alone", (1, 1), (3, 3)),
        ("cycle alone", (2, 2), (0, 0)),
        ("forward only", (1, 2), (3, 3)),
        ("backward only", (2, 1), (3, 3)),
    ],
)
def test_networks_are_called_only_for_images_that_terms_need(preset, generator_images, discriminator_images) -> None:
    counts, _ = play(PRESETS[preset])
    assert (counts["G_AB"], counts["G_BA"]) == generator_images
    # The real image, the fake, and the fake once more for the generator.
    assert (counts["D_A"], counts["D_B"]) == discriminator_images


def test_terms_with_weight_zero_are_not_computed() -> None:
    assert play({})[1] == {"G_AB", "G_BA", "cycle_A", "cycle_B", "idt_A", "idt_B", "D_A", "D_B"}
    assert play(PRESETS["gan alone"])[1] == {"G_AB", "G_BA", "D_A", "D_B"}
    assert play(PRESETS["forward only"])[1] == {"G_AB", "G_BA", "cycle_A", "D_A", "D_B"}
    assert play(PRESETS["cycle alone"])[1] == {"cycle_A", "cycle_B"}


def test_each_player_owns_the_networks_it_trains_and_no_others() -> None:
    method = CycleGAN(CycleGANConfig(**SMALL))
    for player, names in zip(method.players, (("G_AB", "G_BA"), ("D_A", "D_B")), strict=True):
        owned = {id(p) for p in player.module.parameters()}
        assert owned == {id(p) for name in names for p in method.networks[name].parameters()}


def test_a_generator_that_nothing_trains_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing trains G_BA"):
        CycleGANConfig(lambda_GAN_BA=0, lambda_cycle_A=0, lambda_cycle_B=0)


def test_the_identity_loss_requires_equal_channels() -> None:
    with pytest.raises(UsageError, match="lambda_identity 0"):
        CycleGANConfig(input_nc=1, output_nc=3)
    method = CycleGAN(CycleGANConfig(input_nc=1, output_nc=3, lambda_identity=0, **SMALL))
    output = method.players[0].module(torch.rand(1, 1, 16, 16), torch.rand(1, 3, 16, 16))
    assert output.images["fake_B"].shape[1] == 3


def test_images_of_different_sizes_are_computed_separately() -> None:
    method = CycleGAN(CycleGANConfig(**SMALL))
    output = method.players[0].module(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 24))
    assert output.images["fake_A"].shape[-1] == 24
