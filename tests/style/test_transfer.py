"""Style transfer itself, on tiny images."""

import pytest
import torch

from cyclegan_dist.networks.feature_layers import FeatureLayers
from cyclegan_dist.style.gram import content_distance, mean_style, style_distance
from cyclegan_dist.style.options import StyleOptions
from cyclegan_dist.style.transfer import transfer

SIDE = 32
OPTIONS = StyleOptions(content_layer="block2", style_layers=("stem", "block1", "block2"), steps=30)
_x = torch.linspace(0, 1, SIDE)
_disc = ((_x[:, None] - 0.5) ** 2 + (_x - 0.5) ** 2 < 0.1).float() * 1.2 - 0.6
INPUTS = torch.stack([torch.stack([_disc, _disc * 0.3, -_disc]), torch.stack([-_disc, _x.expand(SIDE, SIDE), _disc])])
STRIPES = torch.sign(torch.sin(_x * 50)).expand(1, 3, SIDE, SIDE).contiguous() * 0.9


@pytest.fixture(scope="module")
def network() -> FeatureLayers:
    return FeatureLayers(OPTIONS.features, OPTIONS.layers, torch.device("cpu"))


@pytest.fixture(scope="module")
def style(network: FeatureLayers) -> dict[str, torch.Tensor]:
    return mean_style(network, OPTIONS.style, [STRIPES])


def test_pictures_take_the_style_and_keep_the_content(network: FeatureLayers, style: dict[str, torch.Tensor]) -> None:
    made = transfer(network, INPUTS, style, OPTIONS, [0, 1])
    assert made.shape == INPUTS.shape and float(made.abs().max()) <= 1 and not made.requires_grad
    with torch.no_grad():
        before, after, noise = network(INPUTS), network(made), network(torch.rand(2, 3, SIDE, SIDE) * 2 - 1)
    assert (style_distance(after, style) < style_distance(before, style) / 8).all()
    kept, lost = (content_distance(x[OPTIONS.content], before[OPTIONS.content]) for x in (after, noise))
    assert (kept < lost / 2).all()
    print(style_distance(before, style), style_distance(after, style), kept, lost)
