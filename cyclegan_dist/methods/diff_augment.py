"""DiffAugment (Zhao et al. 2020, arXiv 2006.10738): random changes of the images that a discriminator judges, real and
generated ones alike, through which the generator gets its gradient.

The random numbers are drawn on the host, for each image from the step's seed and the image's number in the batch. So
they are inputs of a CUDA graph, the same for any number of ranks and micro-batches, and drawn again by a resumed run
without any state in its checkpoint.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cyclegan_dist.methods.contract import Images
from cyclegan_dist.methods.cyclegan_config import Augmentation

NUMBERS = 7  # of each image: brightness, saturation, contrast, shift in y and x, cutout in y and x
SEEDS = 2**63  # image i of a batch has the step's seed plus i
SHIFT, CUTOUT = 0.125, 0.5  # of the image's side


def draw_numbers(names: Sequence[str]) -> Callable[[Images, int, int], Images]:
    """The `choose` of a player: N x 7 numbers in [0, 1) under each name."""

    def choose(images: Images, seed: int, first: int) -> Images:
        drawn = [
            torch.rand(
                *(len(names), NUMBERS),
                generator=torch.Generator().manual_seed((seed + first + i) % SEEDS),
                dtype=torch.float32,
                device="cpu",
            )
            for i in range(len(images["real_A"]))
        ]
        return dict(zip(names, torch.stack(drawn, dim=1), strict=True))

    return choose


def augment(images: Tensor, numbers: Tensor, policy: Sequence[Augmentation]) -> Tensor:
    """The images with the changes of `policy`, in the order colour, translation, cutout.

    Args:
        images: N x C x H x W in [-1, 1].
        numbers: N x 7 in [0, 1), which say how much each is changed.
        policy: `colour` adds up to 0.5 to the brightness, multiplies the saturation by up to 2 and the contrast by 0.5
            to 1.5. `translation` moves the image by up to an eighth of its sides; 0 is moved in. `cutout` sets a
            rectangle of half its sides to 0, which may lie partly outside.
    """
    if "colour" in policy:
        images = _recoloured(images, numbers[:, :3])
    if "translation" in policy:
        images = _translated(images, numbers[:, 3:5])
    if "cutout" in policy:
        images = _cut_out(images, numbers[:, 5:7])
    return images


def _recoloured(images: Tensor, numbers: Tensor) -> Tensor:
    brightness, saturation, contrast = numbers.to(images.dtype)[:, :, None, None, None].unbind(1)
    images = images + (brightness - 0.5)
    grey = images.mean(dim=1, keepdim=True)
    images = (images - grey) * (2 * saturation) + grey
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * (contrast + 0.5) + mean


def _translated(images: Tensor, numbers: Tensor) -> Tensor:
    inside = None
    for axis, number in zip((2, 3), numbers.unbind(1), strict=True):
        side = images.shape[axis]
        most = int(side * SHIFT + 0.5)
        shift = _integers(number, 2 * most + 1) - most
        source = torch.arange(side, device=images.device) - shift[:, None]  # N x side
        shape = (-1, 1, side, 1) if axis == 2 else (-1, 1, 1, side)
        # Each pixel goes to one place at most, so that the gradient of this is no sum, whose order could vary.
        images = images.gather(axis, source.clamp(0, side - 1).view(shape).expand(images.shape))
        within = ((source >= 0) & (source < side)).view(shape)
        inside = within if inside is None else inside & within
    assert inside is not None
    return images * inside


def _cut_out(images: Tensor, numbers: Tensor) -> Tensor:
    cut = None
    for axis, number in zip((2, 3), numbers.unbind(1), strict=True):
        side = images.shape[axis]
        length = int(side * CUTOUT + 0.5)
        start = _integers(number, side + 1 - length % 2) - length // 2
        place = torch.arange(side, device=images.device) - start[:, None]
        within = ((place >= 0) & (place < length)).view((-1, 1, side, 1) if axis == 2 else (-1, 1, 1, side))
        cut = within if cut is None else cut & within
    assert cut is not None
    return images * ~cut


def _integers(numbers: Tensor, count: int) -> Tensor:
    """Numbers in [0, 1) as integers from 0 to `count` - 1."""
    return (numbers * count).long()
