"""The zero-centred gradient penalty of CycleGAN's discriminators, against Jacobians and finite differences."""

import pytest
import torch
from torch import Tensor, nn

from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig, GradientPenaltyConfig
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig

SMALL = {"generator": GeneratorConfig(ngf=2, n_blocks=0), "discriminator": DiscriminatorConfig(ndf=2, n_layers_D=1)}
WEIGHT = 3.0
IMAGES = ("real_A", "fake_A", "real_B", "fake_B")


def made(at: str, **options) -> tuple[CycleGAN, dict[str, Tensor]]:
    torch.manual_seed(0)
    penalty = GradientPenaltyConfig(at=at, weight=options.pop("weight", WEIGHT))  # pyright: ignore[reportArgumentType]
    method = CycleGAN(CycleGANConfig(**{**SMALL, **options}, gradient_penalty=penalty))
    method.networks.double()
    return method, {name: torch.rand(2, 3, 8, 8, dtype=torch.float64) for name in IMAGES}


def penalty_by_jacobian(D: nn.Module, images: Tensor) -> Tensor:
    """The mean over images of |sum over logits of d logit / d image|^2 / number of logits."""
    found = []
    for image in images:
        jacobian = torch.autograd.functional.jacobian(lambda x: D(x[None]).flatten(), image)  # logits x C x H x W
        found.append(jacobian.sum(0).square().sum() / len(jacobian))
    return torch.stack(found).mean()


@pytest.mark.parametrize("at", ["real", "fake", "both", "mix"])
def test_the_penalty_is_the_squared_slope_at_the_chosen_images(at: str) -> None:
    method, images = made(at)
    torch.manual_seed(5)
    loss, values, _ = method.players[1].module(**images)
    torch.manual_seed(5)
    for domain in "AB":
        D, real, fake = method.networks[f"D_{domain}"], images[f"real_{domain}"], images[f"fake_{domain}"]
        if at == "mix":
            share = torch.rand(2, 1, 1, 1, dtype=torch.float64)
            expected = penalty_by_jacobian(D, share * real + (1 - share) * fake)
        else:
            points = [real] * (at in ("real", "both")) + [fake] * (at in ("fake", "both"))
            expected = torch.stack([penalty_by_jacobian(D, x) for x in points]).sum()
        assert torch.allclose(values[f"gp_{domain}"], expected, rtol=1e-9, atol=0)
    whole = values["D_A"] + values["D_B"] + WEIGHT * (values["gp_A"] + values["gp_B"])
    assert torch.allclose(loss.detach(), whole, rtol=1e-12)


def test_its_gradient_with_respect_to_weights_is_that_of_finite_differences() -> None:
    method, images = made("both")
    module, D = method.players[1].module, method.networks["D_A"]
    module(**images).loss.backward()
    for weight in (D.model[0].weight, D.model[-1].weight):
        slope, step = weight.grad[0, 0, 1, 1].item(), 1e-6
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[0, 0, 1, 1] += sign * step
            values.append(module(**images).loss.item())
            with torch.no_grad():
                weight[0, 0, 1, 1] -= sign * step
        assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize(("at", "weight"), [("none", 1.0), ("real", 0.0)])
def test_without_a_weight_it_is_not_computed(at: str, weight: float) -> None:
    method, images = made(at, weight=weight)
    assert set(method.players[1].module(**images).values) == {"D_A", "D_B"}


def test_the_configuration_names_it_and_refuses_what_cannot_be() -> None:
    config = CycleGANConfig(gradient_penalty=GradientPenaltyConfig(at="real"))
    assert config.double_backward and {"gp_A", "gp_B"} <= set(config.losses)
    assert not CycleGANConfig().double_backward
    with pytest.raises(UsageError, match="wgangp has a gradient penalty already"):
        CycleGANConfig(gan_mode="wgangp", gradient_penalty=GradientPenaltyConfig(at="real"))
    with pytest.raises(UsageError, match="which batch norm joins"):
        CycleGANConfig(
            discriminator=DiscriminatorConfig(norm="batch"), gradient_penalty=GradientPenaltyConfig(at="real")
        )
