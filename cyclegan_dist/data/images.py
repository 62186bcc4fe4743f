"""Images as tensors: uint8, or float32 in [-1, 1] where a domain has more than 8 bits."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from cyclegan_dist.data.arrays import PICTURES
from cyclegan_dist.data.files import FORMATS as FORMATS
from cyclegan_dist.data.picture import UnreadableImageError
from cyclegan_dist.data.pillow_files import from_pillow
from cyclegan_dist.data.reading import read_image
from cyclegan_dist.data.values import ValueRange

_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, as Pillow's


def decode(source: Path | bytes, channels: int, values: ValueRange | None = None) -> Tensor:
    """An image file, on disk or in memory, as C x H x W with the given number of channels.

    Args:
        source: path or content.
        channels: of the result.
        values: of the domain; None if it has 8 bits.

    Returns:
        uint8 without `values`, else float32 in [-1, 1].

    Raises:
        UnreadableImageError: as `read_image` and `with_channels`, and for more than 8 bits without `values`.
    """
    picture = read_image(source, white=None if values is None else values.white)
    if values is not None:
        return with_channels(values.to_unit(picture.pixels), channels)
    if picture.pixels.dtype != torch.uint8:
        raise UnreadableImageError(
            f"its values have {picture.source.bits} bits, and 8 are expected: prepare a data set from such files with "
            "--white, or save it with 8 bits"
        )
    return with_channels(picture.pixels, channels)


def with_channels(pixels: Tensor, channels: int) -> Tensor:
    """C x H x W uint8, or float32 in [-1, 1], as `channels` x H x W. Only grey and colour are converted into each
    other.

    Raises:
        UnreadableImageError: if it cannot.
    """
    found = len(pixels)
    if found == channels:
        return pixels
    if found not in PICTURES or channels not in PICTURES:
        raise UnreadableImageError(
            f"it has {found} channels instead of {channels}: set method.input_nc (domain A) or "
            f"method.output_nc (domain B) to {found}, or give other images"
        )
    if found == 1:
        return pixels.repeat(3, 1, 1)
    if pixels.dtype == torch.uint8:
        return from_pillow(to_pillow(pixels).convert("L"))
    return (pixels * pixels.new_tensor(_LUMA)[:, None, None]).sum(0, keepdim=True).clamp_(-1, 1)


def to_pillow(pixels: Tensor) -> Image.Image:
    """C x H x W uint8 with 1 or 3 channels as a Pillow image of mode L or RGB."""
    return Image.fromarray(pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).numpy())


def visible(images: Tensor) -> Tensor:
    """... x C x H x W images as ones that can be displayed: the first three channels, or the first of two."""
    channels = images.shape[-3]
    return images if channels in PICTURES else images[..., : 1 if channels == 2 else 3, :, :]


def windowed(images: Tensor) -> Tensor:
    """Images as uint8, for people and for networks of features: uint8 as they are, floats in [-1, 1] rounded."""
    return images if images.dtype == torch.uint8 else to_bytes(images)


def to_unit_range(
    x: Tensor,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Images in [-1, 1]: of uint8 ones, or the values of floats that are that already."""
    if x.dtype.is_floating_point:
        return x.to(device, non_blocking=True).to(dtype, memory_format=memory_format)
    return x.to(device, non_blocking=True).to(dtype, memory_format=memory_format).div_(127.5).sub_(1)


def to_bytes(x: Tensor) -> Tensor:
    """Images in [-1, 1] as 8-bit ones on the CPU."""
    return x.detach().float().add(1).mul(127.5).round().clamp(0, 255).to("cpu", torch.uint8)
