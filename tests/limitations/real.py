"""The discriminant on real images: sets of unseen horses and zebras in the place of translations of horses.

    python -m tests.limitations horse2zebra FOLDER

FOLDER is the published horse2zebra. Horses are what a generator gives that does nothing, zebras what a perfect one gives.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cyclegan_dist.evaluation.discriminant import positions, separation
from cyclegan_dist.evaluation.features import feature_network

SIDE = 64


@dataclass(frozen=True)
class RealImages:
    """Figures of the real images.

    Attributes:
        separation: of held-out test horses from test zebras on the discriminant.
        horses: share of the way that each set of unseen horses gets.
        zebras: that each set of unseen zebras gets.
        images: in a set.
    """

    separation: float
    horses: list[float]
    zebras: list[float]
    images: int


def on_real_images(folder: Path) -> RealImages:
    """Measure the sets that the training images give, each as large as the test set of horses."""
    source, target, horses, zebras = (_features(folder / name) for name in ("testA", "testB", "trainA", "trainB"))
    reached: list[list[float]] = []
    at = None
    for images in (horses, zebras):
        sets = images[: len(images) // len(source) * len(source)].split(len(source))
        found = [positions(source, target, one) for one in sets]
        reached.append([float(one.translations.mean()) for one in found if one is not None])
        at = found[0]
    return RealImages(separation(at.source, at.target) if at else 0.0, *reached, len(source))


def _features(folder: Path) -> Tensor:
    network = feature_network("untrained", torch.device("cpu"))
    files = sorted(folder.iterdir())
    found: list[Tensor] = []
    for start in range(0, len(files), 64):
        images = [np.asarray(_small(file)) for file in files[start : start + 64]]
        found.append(network.of(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)))
    return torch.cat(found)


def _small(file: Path) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
