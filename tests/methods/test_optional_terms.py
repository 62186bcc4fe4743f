"""Terms of CycleGAN that the paper tried or that need known pairs, against their formulas."""

import copy

import pytest
import torch

from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.update import Step

SMALL = {"generator": GeneratorConfig(ngf=2, n_blocks=1), "discriminator": DiscriminatorConfig(ndf=2, n_layers_D=1)}


def images(*names: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return {name: torch.rand(2, 3, 16, 16, dtype=torch.float64) * 2 - 1 for name in names}


def step(config: CycleGANConfig, inputs: dict[str, torch.Tensor]) -> tuple[CycleGAN, CycleGAN, dict[str, torch.Tensor]]:
    """One step: the method before and after it, and its losses."""
    torch.manual_seed(0)
    method = config.build(rank_seed=0)
    update = Step(method, OptimConfig(precision="fp64"), World(0, 1, torch.device("cpu")))
    before = copy.deepcopy(method)
    return before, method, update([inputs], lr=2e-4)


def test_pairs_add_the_error_of_both_translations() -> None:
    inputs = images("real_A", "real_B", "pair_A", "pair_B")
    config = CycleGANConfig(**SMALL, lambda_pair=7.0, lambda_identity=0.0)
    before, _, losses = step(config, inputs)
    G_AB, G_BA = before.translators["AB"], before.translators["BA"]
    expected_A = (G_BA(inputs["pair_B"]) - inputs["pair_A"]).abs().mean()
    expected_B = (G_AB(inputs["pair_A"]) - inputs["pair_B"]).abs().mean()
    assert torch.allclose(losses["pair_A"], expected_A, atol=1e-12)
    assert torch.allclose(losses["pair_B"], expected_B, atol=1e-12)
    rest = losses["G_AB"] + losses["G_BA"] + 10 * (losses["cycle_A"] + losses["cycle_B"])
    assert torch.allclose(losses["G"], rest + 7 * (expected_A + expected_B), atol=1e-10)
    assert config.pairing == "some" and CycleGANConfig(**SMALL).pairing == "none"
    assert set(losses) == set(config.losses) - {"idt_A", "idt_B"}


def test_the_adversarial_cycle_has_discriminators_of_its_own() -> None:
    inputs = images("real_A", "real_B")
    config = CycleGANConfig(**SMALL, lambda_GAN_cycle=3.0, lambda_identity=0.0)
    before, after, losses = step(config, inputs)
    G_AB, G_BA, networks = before.translators["AB"], before.translators["BA"], before.networks
    for domain, real, rec in (
        ("A", inputs["real_A"], G_BA(G_AB(inputs["real_A"]))),
        ("B", inputs["real_B"], G_AB(G_BA(inputs["real_B"]))),
    ):
        D = networks[f"D_cycle_{domain}"]
        assert torch.allclose(losses[f"GAN_cycle_{domain}"], ((D(rec) - 1) ** 2).mean(), atol=1e-12)
        expected = 0.5 * (((D(real) - 1) ** 2).mean() + (D(rec) ** 2).mean())
        assert torch.allclose(losses[f"D_cycle_{domain}"], expected, atol=1e-12)
        moved = zip(D.parameters(), after.networks[f"D_cycle_{domain}"].parameters(), strict=True)
        assert any(not torch.equal(old, new) for old, new in moved)
    rest = losses["G_AB"] + losses["G_BA"] + 10 * (losses["cycle_A"] + losses["cycle_B"])
    added = losses["GAN_cycle_A"] + losses["GAN_cycle_B"]
    assert torch.allclose(losses["G"], rest + 3 * added, atol=1e-10)
    assert set(losses) == set(config.losses) - {"idt_A", "idt_B"}


def test_the_other_networks_start_as_without_it() -> None:
    plain, with_it = (
        step(CycleGANConfig(**SMALL, lambda_GAN_cycle=weight), images("real_A", "real_B"))[0] for weight in (0.0, 1.0)
    )
    for name, network in plain.networks.items():
        for one, other in zip(network.parameters(), with_it.networks[name].parameters(), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("weights", [{"lambda_GAN_cycle": 1.0}, {"lambda_pair": 1.0}])
def test_each_can_replace_the_cycle(weights: dict[str, float]) -> None:
    alone = {"lambda_cycle_A": 0.0, "lambda_cycle_B": 0.0, "lambda_GAN_AB": 0.0}
    with pytest.raises(UsageError, match="nothing trains G_AB"):
        CycleGANConfig(**SMALL, **alone)
    CycleGANConfig(**SMALL, **alone, **weights)


def test_an_end_of_the_ramp_without_a_ramp_is_refused() -> None:
    with pytest.raises(UsageError, match=r"lambda_cycle_end 0.1 has no effect: give method.cycle_ramp_images"):
        CycleGANConfig(**SMALL, lambda_cycle_end=0.1)


@pytest.mark.parametrize(("nimg", "factor"), [(0, 1.0), (30, 0.7), (100, 0.0), (150, 0.0)])
def test_the_factor_of_the_cycle_weights_changes_in_a_straight_line(nimg: int, factor: float) -> None:
    torch.manual_seed(0)
    config = CycleGANConfig(**SMALL, cycle_ramp_images=100, lambda_cycle_end=0.0)
    update = Step(config.build(rank_seed=0), OptimConfig(precision="fp64"), World(0, 1, torch.device("cpu")))
    losses = update([images("real_A", "real_B")], lr=2e-4, nimg=nimg)
    cycle = losses["cycle_A"] + losses["cycle_B"] + 0.5 * (losses["idt_A"] + losses["idt_B"])
    expected = losses["G_AB"] + losses["G_BA"] + factor * 10 * cycle
    assert torch.allclose(losses["G"], expected, rtol=1e-12)
