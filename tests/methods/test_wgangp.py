"""wgangp: the published loss, its penalty as a term of its own, and configurations of old runs."""

import pytest
import torch
from torch import Tensor

from cyclegan_dist.methods import cyclegan_discriminators
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.methods.losses import gradient_penalty, mixed
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig


def judged(
    monkeypatch: pytest.MonkeyPatch, **options: float
) -> tuple[dict[str, Tensor], CycleGAN, dict[str, Tensor], int]:
    """The discriminators' losses, the method, the images and the number of penalties computed."""
    torch.manual_seed(0)
    small = {"generator": GeneratorConfig(ngf=2, n_blocks=0), "discriminator": DiscriminatorConfig(ndf=2, n_layers_D=1)}
    method = CycleGAN(CycleGANConfig(gan_mode="wgangp", **small, **options))  # pyright: ignore[reportArgumentType]
    computed = []
    monkeypatch.setattr(
        cyclegan_discriminators, "gradient_penalty", lambda *args: computed.append(1) or gradient_penalty(*args)
    )
    images = {name: torch.rand(2, 3, 16, 16) for name in ("real_A", "fake_A", "real_B", "fake_B")}
    torch.manual_seed(1)
    output = method.players[1].module(**images)
    return {**output.values, "D": output.loss.detach()}, method, images, len(computed)


@pytest.mark.parametrize(("options", "scale"), [({}, 0.5), ({"lambda_critic": 1.0}, 1.0)])
def test_the_critics_loss_is_halved_and_the_penalty_a_term_of_its_own(monkeypatch, options, scale) -> None:
    values, method, images, computed = judged(monkeypatch, **options)
    assert computed == 2 and set(values) == {"D_A", "D_B", "gp_A", "gp_B", "D"}
    torch.manual_seed(1)  # of the points between real and fake images
    for domain in "AB":
        D, real, fake = method.networks[f"D_{domain}"], images[f"real_{domain}"], images[f"fake_{domain}"]
        assert values[f"D_{domain}"].item() == pytest.approx(scale * (D(fake).mean() - D(real).mean()).item(), rel=1e-4)
        assert values[f"gp_{domain}"].item() == pytest.approx(gradient_penalty(D, mixed(real, fake)).item(), rel=1e-6)
    whole = values["D_A"] + values["D_B"] + 10 * (values["gp_A"] + values["gp_B"])
    assert values["D"].item() == pytest.approx(whole.item(), rel=1e-6)


def test_a_penalty_of_weight_zero_is_not_computed(monkeypatch) -> None:
    values, _, _, computed = judged(monkeypatch, lambda_gp=0.0)
    assert computed == 0 and set(values) == {"D_A", "D_B", "D"}


def test_the_configuration_names_the_penalties_that_are_computed() -> None:
    with_penalty, without = (CycleGANConfig(gan_mode="wgangp", lambda_gp=weight) for weight in (10.0, 0.0))
    assert with_penalty.double_backward and {"gp_A", "gp_B"} <= set(with_penalty.losses)
    assert not without.double_backward and "gp_A" not in without.losses and without.panels == CycleGANConfig().panels
