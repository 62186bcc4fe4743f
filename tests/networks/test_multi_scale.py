"""Discriminators at several scales."""

import pytest
import torch
from torch import Tensor

from cyclegan_dist.networks.build import build_discriminator
from cyclegan_dist.networks.config import DiscriminatorConfig, InitConfig
from cyclegan_dist.networks.multi_scale import MultiScaleDiscriminator

SMALL = {"ndf": 2, "n_layers_D": 1}


def made(scales: int, **options) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_discriminator(3, DiscriminatorConfig(**SMALL, scales=scales, **options), InitConfig())


def halved(image: Tensor) -> Tensor:
    """C x H x W: at every second pixel, the mean of the pixels around it that are inside."""
    _, height, width = image.shape
    rows = [
        torch.stack(
            [image[:, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].mean((1, 2)) for x in range(0, width, 2)], 1
        )
        for y in range(0, height, 2)
    ]
    return torch.stack(rows, 1)


def test_each_judges_the_image_at_half_the_previous_size() -> None:
    D, image = made(3), torch.rand(1, 3, 28, 24)
    assert isinstance(D, MultiScaleDiscriminator)
    for one, found in zip(D.scales, D(image), strict=True):
        torch.testing.assert_close(found, one(image))
        image = halved(image[0])[None]


def test_one_scale_is_the_discriminator_itself() -> None:
    one, several = made(1), made(2)
    assert not isinstance(one, MultiScaleDiscriminator) and isinstance(several, MultiScaleDiscriminator)
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, several.state_dict()[f"scales.0.{name}"])


def test_the_layers_can_be_differentiated_twice() -> None:
    D = made(2, norm="none").double()
    assert isinstance(D, MultiScaleDiscriminator)
    image = torch.rand(1, 3, 12, 12, dtype=torch.float64, requires_grad=True)
    assert torch.equal(D.layer_by_layer(image), torch.cat([x.flatten(1) for x in D(image)], 1))
    assert torch.autograd.gradgradcheck(D.layer_by_layer, image, fast_mode=True)


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_the_smallest_side_is_that_of_the_coarsest(scales: int) -> None:
    side = DiscriminatorConfig(n_layers_D=1, scales=scales).smallest_side
    assert side == 6 * 2 ** (scales - 1)
    D = made(scales)
    D(torch.rand(1, 3, side, side))
