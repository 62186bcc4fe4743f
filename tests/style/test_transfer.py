"""Style transfer itself, on tiny images."""

from dataclasses import replace

import pytest
import torch

from cyclegan_dist.networks.feature_layers import FeatureLayers
from cyclegan_dist.style.gram import content_distance, mean_style, style_distance
from cyclegan_dist.style.options import StyleOptions
from cyclegan_dist.style.transfer import total_variation, transfer

SIDE = 32
OPTIONS = StyleOptions(style_layers=("stem", "block2.wide", "block3.wide"), steps=30, lr=0.1)
_x = torch.linspace(0, 1, SIDE)
_disc = ((_x[:, None] - 0.5) ** 2 + (_x - 0.5) ** 2 < 0.1).float() * 1.2 - 0.6
INPUTS = torch.stack([torch.stack([_disc, _disc * 0.3, -_disc]), torch.stack([-_disc, _x.expand(SIDE, SIDE), _disc])])
WAVES = torch.stack([torch.sin(_x * 25 + i) * torch.cos(_x * 19 * i)[:, None] for i in range(3)])[None]


@pytest.fixture(scope="module")
def network() -> FeatureLayers:
    return FeatureLayers(OPTIONS.features, OPTIONS.layers, torch.device("cpu"))


@pytest.fixture(scope="module")
def style(network: FeatureLayers) -> dict[str, torch.Tensor]:
    return mean_style(network, OPTIONS.style, [WAVES])


def test_pictures_take_the_style_and_keep_the_content(network: FeatureLayers, style: dict[str, torch.Tensor]) -> None:
    made = transfer(network, INPUTS, style, OPTIONS, [0, 1])
    assert made.shape == INPUTS.shape and float(made.abs().max()) <= 1 and not made.requires_grad
    torch.manual_seed(0)
    with torch.no_grad():
        before, after, noise = network(INPUTS), network(made), network(torch.rand(2, 3, SIDE, SIDE) * 2 - 1)
    assert (style_distance(after, style) < style_distance(before, style) / 5).all()
    kept, lost = (content_distance(x[OPTIONS.content], before[OPTIONS.content]) for x in (after, noise))
    assert (kept < lost * 0.65).all()


def test_an_image_is_the_same_whatever_is_computed_with_it(
    network: FeatureLayers, style: dict[str, torch.Tensor]
) -> None:
    options = replace(OPTIONS, steps=6, start="noise")
    together = transfer(network, INPUTS, style, options, [3, 8])
    assert torch.equal(transfer(network, INPUTS, style, options, [3, 8]), together)
    alone = transfer(network, INPUTS[1:], style, options, [8])
    torch.testing.assert_close(alone[0], together[1], atol=2e-3, rtol=0)
    assert (transfer(network, INPUTS[1:], style, options, [3])[0] - together[1]).abs().mean() > 0.1
    assert (transfer(network, INPUTS[1:], style, replace(options, seed=9), [8])[0] - together[1]).abs().mean() > 0.1


def test_without_style_the_input_is_the_best_picture(network: FeatureLayers, style: dict[str, torch.Tensor]) -> None:
    options = replace(OPTIONS, style_weight=0, tv_weight=0, steps=3)
    assert torch.equal(transfer(network, INPUTS, style, options, [0, 1]), INPUTS)


def test_total_variation_is_smoothed_away(network: FeatureLayers, style: dict[str, torch.Tensor]) -> None:
    ramp = torch.stack([_x.expand(3, SIDE, SIDE), torch.zeros(3, SIDE, SIDE)])
    torch.testing.assert_close(total_variation(ramp), torch.tensor([(1 / (SIDE - 1)) ** 2, 0.0]))
    rough, smooth = (
        transfer(network, INPUTS[:1], style, replace(OPTIONS, steps=10, tv_weight=weight), [0]) for weight in (0, 100)
    )
    assert total_variation(smooth) < total_variation(rough) / 2
