"""The images of a domain as style transfer takes them, and the style of all of them together."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from cyclegan_dist.data.images import to_unit_range, visible, windowed
from cyclegan_dist.evaluation.images import DomainImages
from cyclegan_dist.networks.feature_layers import FeatureLayers
from cyclegan_dist.storage.files import atomic
from cyclegan_dist.style.gram import mean_style, style_distance

CANDIDATES = 32  # images among which typical ones are sought


def evenly(n: int, count: int) -> list[int]:
    """`count` of n positions, evenly spaced; all if `count` is 0 or larger."""
    return np.linspace(0, n - 1, min(count or n, n)).round().astype(int).tolist()


def shown(images: DomainImages, numbers: Sequence[int]) -> list[Tensor]:
    """Images of a domain as C x H x W uint8, C 1 or 3."""
    return [windowed(visible(images[i])) for i in numbers]


def stacked(images: Sequence[Tensor], device: torch.device) -> Tensor:
    """C x H x W uint8 images of one size, C 1 or 3, as N x 3 x H x W in [-1, 1]."""
    return to_unit_range(torch.stack(list(images)), device).expand(-1, 3, -1, -1)


def collected(
    images: DomainImages,
    network: FeatureLayers,
    layers: Sequence[str],
    *,
    device: torch.device,
    batch_size: int,
    file: Path,
) -> tuple[dict[str, Tensor], list[int]]:
    """The mean Gram matrices of all images, and the two images whose own are nearest to them, among 32 evenly spaced.

    Args:
        images: all of one size, unless `batch_size` is 1.
        network: computes `layers`.
        layers: of the style.
        device: of the network.
        batch_size: images that are computed at once.
        file: safetensors that keeps the result, read if it exists; its name must depend on images, network and layers.

    Raises:
        UsageError: if an image is damaged.
        OSError: if `file` cannot be written.
    """
    try:
        kept = load_file(file, str(device))
        return {layer: kept[layer] for layer in layers}, kept["typical"].tolist()
    except (OSError, SafetensorError, KeyError):  # not computed yet, or damaged
        pass

    def batches(numbers: Sequence[int]) -> Iterator[Tensor]:
        for start in range(0, len(numbers), batch_size):
            yield stacked(shown(images, numbers[start : start + batch_size]), device)

    mean = mean_style(network, layers, batches(range(len(images))))
    candidates = evenly(len(images), CANDIDATES)
    with torch.no_grad():
        distances = torch.cat([style_distance(network(x), mean) for x in batches(candidates)])
    typical = [candidates[i] for i in distances.argsort(stable=True)[:2].tolist()]
    with atomic(file) as draft:
        save_file({**{layer: matrix.cpu() for layer, matrix in mean.items()}, "typical": torch.tensor(typical)}, draft)
    return mean, typical
