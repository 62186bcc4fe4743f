"""Translating images of any size with one generator."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan_dist.data.images import to_bytes, to_unit_range
from cyclegan_dist.networks.build import Generator


@torch.inference_mode()
def translate(network: Generator, images: Tensor) -> Tensor:
    """Translate n x C x H x W uint8 images of one size; the result is n x C' x H x W uint8 on the CPU.

    Sides are padded to what the network needs, by reflection where the image is large enough, and cropped back.
    """
    height, width = images.shape[-2:]
    down, right, mode = padding(height, width, network.multiple)
    x = F.pad(to_unit_range(images, next(network.parameters()).device), (0, right, 0, down), mode=mode)
    return to_bytes(network(x)[..., :height, :width])


def padding(height: int, width: int, multiple: int) -> tuple[int, int, str]:
    """Rows to add below and columns to add on the right of an image, and the mode of `torch.nn.functional.pad`."""
    # Two cells at the coarsest scale: instance norm and reflection need more than one.
    down, right = (
        max(2 * multiple if multiple == 4 else multiple, -(-side // multiple) * multiple) - side
        for side in (height, width)
    )
    return down, right, "reflect" if down < height and right < width else "replicate"
