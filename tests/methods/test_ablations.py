"""Ablations are weights: what no term asks for is not computed, and what nobody trains is refused."""

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
    """Images that each network was shown in one pass over all players, and the terms that were computed."""
    method = CycleGAN(CycleGANConfig(**SMALL, **weights))
    shown = dict.fromkeys(method.networks, 0)
    for name, network in method.networks.items():
        network.register_forward_hook(lambda _, args, __, name=name: shown.update({name: shown[name] + len(args[0])}))
    images = {"real_A": torch.rand(1, 3, 16, 16), "real_B": torch.rand(1, 3, 16, 16)}
    terms: set[str] = set()
    for player in method.players:
        outcome = player.module(**player.inputs(images))
        images |= outcome.images
        terms |= set(outcome.values)
    return shown, terms


@pytest.mark.parametrize(
    ("preset", "generator_images", "judged"),
    [
        ("all", (3, 3), (3, 3)),
        ("no identity", (2, 2), (3, 3)),
        ("gan alone", (1, 1), (3, 3)),
        ("cycle alone", (2, 2), (0, 0)),
        ("forward only", (1, 2), (3, 3)),
        ("backward only", (2, 1), (3, 3)),
    ],
)
def test_networks_are_called_only_for_what_is_asked(preset, generator_images, judged) -> None:
    shown, _ = play(PRESETS[preset])
    assert (shown["G_AB"], shown["G_BA"]) == generator_images
    assert (shown["D_A"], shown["D_B"]) == judged  # each real, its fake, and the fake once more for the generator


def test_terms_are_those_of_weight_above_zero() -> None:
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


def test_identity_needs_equal_channels() -> None:
    with pytest.raises(UsageError, match="lambda_identity 0"):
        CycleGANConfig(input_nc=1, output_nc=3)
    method = CycleGAN(CycleGANConfig(input_nc=1, output_nc=3, lambda_identity=0, **SMALL))
    outcome = method.players[0].module(torch.rand(1, 1, 16, 16), torch.rand(1, 3, 16, 16))
    assert outcome.images["fake_B"].shape[1] == 3


def test_images_of_different_sizes_go_through_separately() -> None:
    method = CycleGAN(CycleGANConfig(**SMALL))
    outcome = method.players[0].module(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 24))
    assert outcome.images["fake_A"].shape[-1] == 24
