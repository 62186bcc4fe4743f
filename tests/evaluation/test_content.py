"""Edges and structure of translations compared with those of their inputs."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan_dist.evaluation.content import Structure, edge_correlation, edges, self_similarity


def photo(seed: int = 0, size: int = 64) -> Tensor:
    """A smooth random image, 1 x 3 x size x size uint8."""
    noise = torch.rand((1, 3, size // 8, size // 8), generator=torch.Generator().manual_seed(seed))
    return (255 * F.interpolate(noise, (size, size), mode="bicubic").clamp(0, 1)).to(torch.uint8)


def noisy(image: Tensor, share: float) -> Tensor:
    noise = 255 * torch.rand(image.shape, generator=torch.Generator().manual_seed(1))
    return ((1 - share) * image + share * noise).to(torch.uint8)


def test_edges_are_the_magnitude_of_the_gradient() -> None:
    image = torch.tensor([[[[0, 0, 30, 60], [0, 0, 30, 60], [40, 40, 70, 100]]]], dtype=torch.uint8)
    lower = [20, 25, (30**2 + 20**2) ** 0.5, 25]
    expected = torch.tensor([[0, 15.0, 30, 15], lower, lower])
    assert torch.allclose(edges(image)[0, 0], expected)
    assert torch.allclose(edges(image.float() / 127.5 - 1)[0, 0], expected, atol=1e-3)


def test_edges_correlate_whatever_their_strength_and_sign() -> None:
    image = photo()
    half = (image // 2).float() / 127.5 - 1
    (same,), (weaker,), (inverted,) = (
        edge_correlation(one, two)
        for one, two in ((image, image), ((image // 2 * 2).float() / 127.5 - 1, half), (image, 255 - image))
    )
    assert same == 1 and weaker == pytest.approx(1, abs=1e-4) and inverted == pytest.approx(1, abs=1e-4)
    grey = torch.full((2, 3, 64, 64), 90, dtype=torch.uint8)
    assert edge_correlation(grey, grey // 2) == [1, 1]  # neither has edges
    assert edge_correlation(grey, photo().expand(2, -1, -1, -1)) == [0, 0]
    # By hand: the edges of two lines, one in each image, that lie apart.
    one, two = torch.zeros(1, 1, 3, 8, dtype=torch.uint8), torch.zeros(1, 1, 3, 8, dtype=torch.uint8)
    one[..., 1], two[..., 5] = 200, 200
    row = torch.tensor([1.0, 0, 1, 0, 0, 0, 0, 0]), torch.tensor([0.0, 0, 0, 0, 1, 0, 1, 0])
    expected = float(torch.corrcoef(torch.stack(row))[0, 1])
    assert edge_correlation(one, two) == pytest.approx([expected], abs=1e-5)


def test_self_similarity_is_the_cosine_of_places() -> None:
    features = torch.tensor([[[3.0, 0, -1]], [[4.0, 2, 0]]])[None]  # places (3, 4), (0, 2), (-1, 0)
    expected = torch.tensor([[1, 0.8, -0.6], [0.8, 1, 0], [-0.6, 0, 1]])
    assert torch.allclose(self_similarity(features)[0], expected)
    assert torch.allclose(self_similarity(7 * features), self_similarity(features))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite2"])
def test_structure_changes_with_distortion_and_not_for_equal_images(name: str) -> None:
    structure, image = Structure(name, torch.device("cpu")), photo()
    assert structure.change(image, image) == [0] and structure.name == name
    batch = torch.cat([noisy(image, share) for share in (0.05, 0.2, 0.6)])
    found = structure.change(image.expand(3, -1, -1, -1), batch)
    assert 0 < found[0] < found[1] < found[2]
    assert edge_correlation(image.expand(3, -1, -1, -1), batch) == sorted(
        edge_correlation(image.expand(3, -1, -1, -1), batch), reverse=True
    )
    bright = (image.float() * 0.8 + 40).to(torch.uint8)
    assert structure.change(image, bright)[0] < structure.change(image, photo(1))[0] / 2
