import pytest
import torch

from cyclegan_dist.methods.losses import (
    discriminator_gan_loss,
    generator_gan_loss,
    gradient_penalty,
    l1,
    mixed,
    zero_centred_penalty,
)

REAL = torch.tensor([[[[0.5, 2.0], [-1.0, 0.0]]]])
FAKE = torch.tensor([[[[0.1, -0.3], [1.0, 3.0]]]])


def sigmoid(x: torch.Tensor) -> torch.Tensor:
    return 1 / (1 + torch.exp(-x))


@pytest.mark.parametrize(
    ("mode", "generator", "discriminator"),
    [
        ("lsgan", ((FAKE - 1) ** 2).mean(), 0.5 * (((REAL - 1) ** 2).mean() + (FAKE**2).mean())),
        (
            "vanilla",
            -torch.log(sigmoid(FAKE)).mean(),
            0.5 * (-torch.log(sigmoid(REAL)).mean() - torch.log(1 - sigmoid(FAKE)).mean()),
        ),
        ("wgangp", -FAKE.mean(), 0.5 * (FAKE.mean() - REAL.mean())),
    ],
)
def test_adversarial_losses_are_the_formulas(mode, generator, discriminator) -> None:
    assert generator_gan_loss(FAKE, mode).item() == pytest.approx(generator.item(), rel=1e-6)
    assert discriminator_gan_loss(REAL, FAKE, mode).item() == pytest.approx(discriminator.item(), rel=1e-6)


def test_the_scale_of_a_discriminators_loss() -> None:
    whole = discriminator_gan_loss(REAL, FAKE, "wgangp", scale=1.0)  # Gulrajani et al. 2017
    assert whole.item() == pytest.approx((FAKE.mean() - REAL.mean()).item(), rel=1e-6)


def test_losses_of_half_precision_are_computed_in_float32() -> None:
    x, y = torch.full((1, 3, 64, 64), 0.3, dtype=torch.bfloat16), torch.zeros(1, 3, 64, 64)
    assert l1(x, y).dtype == torch.float32
    assert generator_gan_loss(x, "lsgan").dtype == torch.float32
    assert l1(x.double(), y.double()).dtype == torch.float64


def test_gradient_penalty_is_the_squared_deviation_of_the_slope_from_one() -> None:
    real, fake = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    direction = torch.randn(2 * 4 * 4)
    unit = direction / direction.norm()

    def penalty(scale: float) -> float:
        return gradient_penalty(lambda x: scale * x.flatten(1) @ unit, mixed(real, fake)).item()

    assert penalty(1.0) == pytest.approx(0, abs=1e-10)
    assert penalty(3.0) == pytest.approx(4, rel=1e-5)


def test_gradient_penalty_has_a_gradient_with_respect_to_the_discriminator() -> None:
    weight = torch.ones(8, requires_grad=True)
    gradient_penalty(lambda x: x.flatten(1) @ weight, torch.rand(2, 2, 2, 2)).backward()
    assert weight.grad is not None and weight.grad.abs().sum() > 0


def test_mixed_images_lie_between_real_and_fake_ones_at_a_point_of_their_own() -> None:
    real, fake = torch.zeros(4, 3, 2, 2), torch.ones(4, 3, 2, 2)
    shares = mixed(real, fake).flatten(1)
    assert torch.equal(shares.amin(1), shares.amax(1)) and shares.min() >= 0 and shares.max() <= 1
    assert len(shares[:, 0].unique()) == 4


def test_the_zero_centred_penalty_of_a_linear_discriminator_is_the_square_of_its_weights() -> None:
    direction = torch.randn(2 * 4 * 4, dtype=torch.float64)
    images = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    one_logit = zero_centred_penalty(lambda x: x.flatten(1) @ direction, images)
    assert one_logit.item() == pytest.approx(direction.square().sum().item(), rel=1e-12)
    four_logits = zero_centred_penalty(lambda x: (x.flatten(1) @ direction).repeat(4, 1), images)  # their sum: 4 D
    assert four_logits.item() == pytest.approx(16 / 4 * direction.square().sum().item(), rel=1e-12)
