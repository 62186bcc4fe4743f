"""Gram matrices and distances, compared with formulas written out."""

import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from cyclegan_dist.networks.feature_layers import FeatureLayers
from cyclegan_dist.style.gram import content_distance, gram, mean_style, style_distance

LAYERS = ("stem", "block1")
GENERATOR = torch.Generator().manual_seed(0)
FEATURES = {
    "one": torch.randn(2, 3, 4, 5, generator=GENERATOR),
    "two": torch.randn(2, 2, 2, 2, generator=GENERATOR),
}
IMAGES = torch.rand(7, 3, 16, 16, generator=GENERATOR) * 2 - 1


@pytest.fixture(scope="module")
def network() -> FeatureLayers:
    return FeatureLayers("efficientnet_lite0", LAYERS, torch.device("cpu"))


def written_out(features: np.ndarray) -> np.ndarray:
    """The Gram matrix of D x h x w features, product by product."""
    d, h, w = features.shape
    found = np.zeros((d, d))
    for i in range(d):
        for j in range(d):
            found[i, j] = sum(features[i, y, x] * features[j, y, x] for y in range(h) for x in range(w)) / (h * w)
    return found


def test_a_gram_matrix_is_the_mean_product_of_channels() -> None:
    for features in FEATURES.values():
        for found, one in zip(gram(features), features, strict=True):
            np.testing.assert_allclose(found, written_out(one.double().numpy()), rtol=1e-5, atol=1e-6)


def test_distances_are_relative_squares() -> None:
    style = {name: torch.eye(features.shape[1]) * 2 for name, features in FEATURES.items()}
    for i, found in enumerate(style_distance(FEATURES, style).tolist()):
        terms = []
        for name, features in FEATURES.items():
            difference = written_out(features[i].double().numpy()) - style[name].numpy()
            terms.append((difference**2).sum() / (style[name].numpy() ** 2).sum())
        assert found == pytest.approx(sum(terms) / 2, rel=1e-5)
    one, two = FEATURES["one"], FEATURES["one"].flip(0) * 0.5
    for found, x, p in zip(content_distance(one, two).tolist(), one.numpy(), two.numpy(), strict=True):
        assert found == pytest.approx(((x - p) ** 2).sum() / (p**2).sum(), rel=1e-5)


def test_the_style_of_features_at_their_target_is_nearest() -> None:
    style = {name: gram(features)[0] for name, features in FEATURES.items()}
    assert style_distance(FEATURES, style)[0] == 0 < style_distance(FEATURES, style)[1]
    nothing = {name: torch.zeros_like(features) for name, features in FEATURES.items()}
    torch.testing.assert_close(style_distance(nothing, style), torch.ones(2))


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_the_mean_style_is_the_mean_of_single_ones(network: FeatureLayers, batch_size: int) -> None:
    single = [{layer: gram(found)[0].double() for layer, found in network(image[None]).items()} for image in IMAGES]
    mean = mean_style(network, LAYERS, IMAGES.split(batch_size))
    for layer in LAYERS:
        expected = torch.stack([each[layer] for each in single]).mean(0).float()
        torch.testing.assert_close(mean[layer], expected, rtol=1e-4, atol=1e-5)
    assert not any(torch.allclose(mean[layer], single[0][layer].float(), rtol=1e-2) for layer in LAYERS)


def test_every_image_counts_the_same_whatever_its_size(network: FeatureLayers) -> None:
    small, large = IMAGES[:1], IMAGES[1:2].repeat(1, 1, 2, 2)
    mean = mean_style(network, LAYERS, [small, large])
    for layer in LAYERS:
        expected = (gram(network(small)[layer])[0] + gram(network(large)[layer])[0]) / 2
        torch.testing.assert_close(mean[layer], expected, rtol=1e-4, atol=1e-5)


def test_memory_is_that_of_one_batch(network: FeatureLayers) -> None:
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def batches() -> Iterator[Tensor]:
        nonlocal most
        for image in IMAGES:
            batch = image[None].clone()
            alive.append(weakref.ref(batch))
            most = max(most, sum(each() is not None for each in alive))
            yield batch
            del batch

    mean_style(network, LAYERS, batches())
    assert len(alive) == 7 and most <= 2
