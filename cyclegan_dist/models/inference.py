"""Translating images of any size with one generator."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan_dist.data.images import to_bytes, to_unit_range
from cyclegan_dist.networks.build import Generator


def translate(network: Generator, images: Tensor) -> Tensor:
    """Translate n x C x H x W images of one size, uint8 or float32 in [-1, 1]; the result is n x C' x H x W uint8 on
    the CPU.
    """
    return to_bytes(outputs(network, images))


@torch.inference_mode()
def outputs(network: Generator, images: Tensor) -> Tensor:
    """As `translate`, but the result is floating-point in [-1, 1], on the network's device.

    Sides are padded to what the network needs, by reflection where the image is large enough, and cropped back.
    """
    height, width = images.shape[-2:]
    down, right, mode = padding(height, width, network.multiple)
    like = next(network.parameters())
    x = F.pad(to_unit_range(images, like.device, like.dtype), (0, right, 0, down), mode=mode)
    return network(x)[..., :height, :width]


def padding(height: int, width: int, multiple: int) -> tuple[int, int, str]:
    """Rows to add below and columns to add on the right of an image, and the mode of `torch.nn.functional.pad`."""
    # Two cells at the coarsest scale: instance norm and reflection need more than one.
    down, right = (
        max(2 * multiple if multiple == 4 else multiple, -(-side // multiple) * multiple) - side
        for side in (height, width)
    )
    return down, right, "reflect" if down < height and right < width else "replicate"
