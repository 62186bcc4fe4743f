"""Translators: the one way from an image to its translation, for commands, service, registry, evaluation and pages."""

import io
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cyclegan_dist.data.arrays import PICTURES
from cyclegan_dist.data.images import UnreadableImageError, read_image, to_pillow, with_channels
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models import inference
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.models.tiled import tileable, translate_tiled

ImageFile = str | os.PathLike[str] | bytes


class Translator:
    """One direction of a snapshot, ready to translate.

    Args:
        snapshot: of the generator.
        direction: AB or BA; by default the first one that the snapshot has.
        device: `cpu`, `cuda`, `cuda:1`, ...; `auto` takes a GPU if there is one.
        tile: images with a longer side, in pixels, are computed in tiles of this side, in less memory and equal within
            rounding; 0: none are.
        whole_pixels: images of at most so many pixels, width times height, are computed in one piece in any case.

    Attributes:
        direction: AB or BA.
        in_channels: of the images that the network takes.
        out_channels: of the translations.

    Raises:
        UsageError: if the snapshot lacks the direction or is damaged, or device or tile cannot be used.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        direction: str | None = None,
        device: torch.device | str = "auto",
        *,
        tile: int = 0,
        whole_pixels: int = 0,
    ):
        self.direction = direction or snapshot.directions[0]
        self.in_channels, self.out_channels = snapshot.channels(self.direction)
        self._tile, self._whole_pixels = tile, whole_pixels
        self._network = snapshot.generator(self.direction, _usable(device))
        if tile:
            tileable(self._network, tile)

    @overload
    def translate(self, image: Tensor) -> Tensor: ...
    @overload
    def translate(self, image: np.ndarray) -> np.ndarray: ...
    @overload
    def translate(self, image: ImageFile | Image.Image) -> Image.Image: ...
    def translate(self, image: Tensor | np.ndarray | ImageFile | Image.Image) -> Tensor | np.ndarray | Image.Image:
        """Translate one image of any size; grey and colour are converted as needed.

        Args:
            image: a file's path or its bytes, a PIL image, a uint8 array H x W x C or H x W, or a uint8 tensor
                C x H x W.

        Returns:
            The translation in the same size: a PIL image for a file or a PIL image, an array H x W x C' for an array, a
            tensor C' x H x W on the CPU for a tensor.

        Raises:
            UnreadableImageError: if it is not such an image, or its channels do not fit.
            UsageError: if the translation cannot be a PIL image, or the temporary folder for tiles is full.
        """
        as_picture = not isinstance(image, Tensor | np.ndarray)
        if as_picture and self.out_channels not in PICTURES:
            raise UsageError(
                f"the translation has {self.out_channels} channels, which no PIL image has: give an array or a tensor"
            )
        (made,) = self.translate_batch([self.decode(image)])
        if isinstance(image, np.ndarray):
            return made.permute(1, 2, 0).numpy()
        return to_pillow(made) if as_picture else made

    def translate_batch(self, images: Sequence[Tensor] | Tensor) -> list[Tensor]:
        """Translate C x H x W uint8 images of any sizes and `in_channels` channels, those of equal size at once.

        Returns:
            For each image its translation, C' x H x W uint8 on the CPU. What one becomes can depend by rounding on how
            many are computed with it.

        Raises:
            UsageError: if the temporary folder for tiles is full.
        """
        same_size: dict[torch.Size, list[int]] = defaultdict(list)
        for position, image in enumerate(images):
            same_size[image.shape].append(position)
        made: dict[int, Tensor] = {}
        for (_, height, width), positions in same_size.items():
            if 0 < self._tile < max(height, width) and height * width > self._whole_pixels:
                made |= {i: translate_tiled(self._network, images[i], self._tile) for i in positions}
            else:
                batch = inference.translate(self._network, torch.stack([images[i] for i in positions]))
                made |= dict(zip(positions, batch, strict=True))
        return [made[position] for position in range(len(images))]

    def decode(self, image: Tensor | np.ndarray | ImageFile | Image.Image) -> Tensor:
        """Any image that `translate` takes as C x H x W uint8 with `in_channels` channels.

        Raises:
            UnreadableImageError: as `translate`.
        """
        if isinstance(image, Image.Image):
            file = io.BytesIO()
            try:  # so that palettes, transparency and 16 bits become the same as those of files
                image.save(file, "PNG", compress_level=1)
            except OSError as error:
                raise UnreadableImageError(f"{error}: convert it to RGB") from error
            image = file.getvalue()
        if isinstance(image, bytes):
            pixels = read_image(image).pixels
        elif isinstance(image, str | os.PathLike):
            pixels = read_image(Path(image)).pixels
        elif isinstance(image, np.ndarray):
            pixels = torch.from_numpy(np.ascontiguousarray(np.atleast_3d(image))).permute(2, 0, 1)
        else:
            pixels = image
        if pixels.dtype != torch.uint8 or pixels.ndim != 3 or not pixels.numel():
            shape = " x ".join(map(str, image.shape)) if isinstance(image, Tensor | np.ndarray) else ""
            raise UnreadableImageError(
                f"no image: {shape} of {pixels.dtype}; give uint8, a tensor as C x H x W, an array as H x W x C"
            )
        if len(pixels) != self.in_channels and not {len(pixels), self.in_channels} <= set(PICTURES):
            raise UnreadableImageError(
                f"the image has {len(pixels)} channels, and direction {self.direction} takes {self.in_channels}"
            )
        return with_channels(pixels, self.in_channels)


def open_translators(
    snapshot: Snapshot, device: torch.device | str = "auto", *, tile: int = 0, whole_pixels: int = 0
) -> dict[str, Translator]:
    """For each direction that the snapshot has its `Translator`: where there are both, one reconstructs images that the
    other has translated.
    """
    options = {"tile": tile, "whole_pixels": whole_pixels}
    return {direction: Translator(snapshot, direction, device, **options) for direction in snapshot.directions}


def _usable(device: torch.device | str) -> torch.device:
    if isinstance(device, torch.device):
        return device
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {device} cannot be used here: {str(error).splitlines()[0]}") from error
