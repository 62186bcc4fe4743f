"""Projected discriminators: the mixtures against their formula, and what is trained and saved."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan_dist.networks.config import InitConfig
from cyclegan_dist.networks.feature_layers import FeatureLayers
from cyclegan_dist.networks.pretrained import PACKAGED, PYRAMIDS
from cyclegan_dist.networks.projected import ProjectedDiscriminator

IMAGES = torch.linspace(-1, 1, 2 * 3 * 72 * 40).sin().reshape(2, 3, 72, 40)  # sides that do not halve evenly


def made(features: str = "efficientnet_lite0", size: int = 0) -> ProjectedDiscriminator:
    torch.manual_seed(0)
    return ProjectedDiscriminator(features, size, InitConfig())


@pytest.mark.parametrize("name", PACKAGED)
def test_mixtures_are_random_sums_over_channels_and_scales(name: str) -> None:
    D = made(name)
    features = list(FeatureLayers(name, tuple(PYRAMIDS[name]), torch.device("cpu"))(IMAGES).values())
    assert [f.shape[1] for f in features] == [*PYRAMIDS[name].values()]
    state, above = D.state_dict(), None
    for level in (3, 2, 1, 0):
        x = torch.einsum("oc,nchw->nohw", state[f"channels.{level}.weight"][:, :, 0, 0], 0.1 * features[level])
        if above is not None:
            rows, columns = (torch.arange(n) * m // n for n, m in zip(x.shape[2:], above.shape[2:], strict=True))
            x = (x + above[:, :, rows][:, :, :, columns]) / 2**0.5
        above = F.conv2d(x, state[f"scales.{level}.weight"], padding=1)
        torch.testing.assert_close(D.mixtures(IMAGES)[level], above, rtol=1e-4, atol=1e-5)
    for level, (mixture, logits) in enumerate(zip(D.mixtures(IMAGES), D(IMAGES), strict=True)):
        assert logits.shape[:2] == (2, 1)
        assert logits.shape[2:] == tuple(-(-side // 2 ** (3 - level)) for side in mixture.shape[2:])


def test_mixtures_keep_the_size_of_what_they_mix() -> None:
    """Random weights have a deviation of 1 / sqrt(number of inputs)."""
    for layer in (*made().channels, *made().scales):
        weight = layer.get_buffer("weight")
        assert float(weight.detach().square().sum(dim=(1, 2, 3)).mean()) == pytest.approx(1, abs=0.15)


def test_heads_alone_are_trained_and_the_frozen_network_is_not_saved() -> None:
    D = made(size=32)
    assert all(name.startswith("heads.") for name, _ in D.named_parameters())
    D(IMAGES)
    assert {name.partition(".")[0] for name in D.state_dict()} == {"channels", "scales", "heads"}
    assert sum(x.numel() for x in D.state_dict().values()) < 2e6  # 3.4 million are in the frozen network
    other = ProjectedDiscriminator("efficientnet_lite0", 32, InitConfig())
    other.load_state_dict(D.state_dict())
    for one, two in zip(D(IMAGES), other(IMAGES), strict=True):
        assert torch.equal(one, two)


def test_gradients_reach_the_image() -> None:
    def slope(images: Tensor) -> Tensor:
        images = images.clone().requires_grad_()
        torch.cat([x.flatten() for x in made(size=32)(images)]).sum().backward()
        assert images.grad is not None
        return images.grad

    assert (slope(IMAGES).abs().sum(dim=(1, 2, 3)) > 0).all()
