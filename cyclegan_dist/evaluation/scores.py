"""Errors image by image. Images are n x C x H x W, uint8 or float32 in [-1, 1]; L1 is in grey levels of 255, SSIM at
most 1.
"""

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from cyclegan_dist.data.arrays import PICTURES

Scores = dict[str, list[float]]


def levels(images: Tensor) -> Tensor:
    """Images as grey levels, float in [0, 255]; those of float32 are not rounded."""
    return (images + 1) * 127.5 if images.is_floating_point() else images.float()


def l1(one: Tensor, two: Tensor) -> list[float]:
    """Mean absolute difference of each image, in grey levels."""
    return (levels(one) - levels(two)).abs().mean((1, 2, 3)).tolist()


def ssim(one: Tensor, two: Tensor) -> list[float]:
    """Structural similarity (Wang et al. 2004) of each image."""
    similarity = structural_similarity_index_measure(levels(one), levels(two), data_range=255.0, reduction="none")
    assert isinstance(similarity, Tensor)
    return similarity.reshape(-1).tolist()


def psnr(one: Tensor, two: Tensor) -> list[float]:
    """Peak signal-to-noise ratio of each image in dB, 100 for equal ones."""
    error = (levels(one) - levels(two)).square().mean((1, 2, 3))
    return (10 * torch.log10(255.0**2 / error)).clamp(max=100).tolist()


def pixel_accuracy(one: Tensor, two: Tensor, within: int) -> list[float]:
    """Share of pixels all of whose channels differ by at most `within` grey levels."""
    far = (levels(one) - levels(two)).abs().amax(1)
    return (far <= within).float().mean((1, 2)).tolist()


def grey(images: Tensor) -> Tensor:
    """Luminance, n x 1 x H x W float in grey levels; of images that are no pictures, the mean of their channels."""
    if images.shape[1] == 3:
        weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        return (levels(images) * weights).sum(1, keepdim=True)
    return levels(images).mean(1, keepdim=True)


def correlation(one: Tensor, two: Tensor) -> list[float]:
    """Pearson's, between the values of each image and its partner, each channel less its mean in the image; 0 where one
    of them is of one colour. The scale of the values does not matter.
    """
    x, y = (images.float() for images in (one, two))
    x, y = ((values - values.mean((2, 3), keepdim=True)).flatten(1) for values in (x, y))
    norm = x.norm(dim=1) * y.norm(dim=1)
    return torch.where(norm > 0, (x * y).sum(1) / norm.clamp(min=1e-9), 0.0).tolist()


def paired(translation: Tensor, truth: Tensor) -> Scores:
    """How near translations are to their true ones."""
    return {
        "l1": l1(translation, truth),
        "psnr": psnr(translation, truth),
        "ssim": ssim(translation, truth),
        "accuracy_5": pixel_accuracy(translation, truth, 5),
        "accuracy_10": pixel_accuracy(translation, truth, 10),
    }


def comparable(one: int, two: int) -> bool:
    """Whether images of so many channels can be compared pixel by pixel."""
    return one == two and one in PICTURES
