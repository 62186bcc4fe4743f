"""Translators: the one way from an image to its translation, for commands, service, registry, evaluation and pages."""

import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cyclegan_dist.data.arrays import PICTURES, VALUES, WIDER
from cyclegan_dist.data.config import MAX_PIXELS
from cyclegan_dist.data.images import to_bytes, to_pillow, windowed, with_channels
from cyclegan_dist.data.picture import Picture, Source, UnreadableImageError
from cyclegan_dist.data.reading import read_image
from cyclegan_dist.data.values import ValueRange
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models import inference
from cyclegan_dist.models.device import usable
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.models.tile_store import ImageSource, Shape, Window
from cyclegan_dist.models.tiled import layer_bytes, tileable, tiled_outputs, translate_tiled

ImageFile = str | os.PathLike[str] | bytes
_DTYPES: dict[torch.dtype, str] = {getattr(torch, name): name for name in VALUES}
_OF_PILLOW = ("uint16", "int32", "float32")


class Translator:
    """One direction of a snapshot, ready to translate.

    Args:
        snapshot: of the generator.
        direction: AB or BA, or by the domains' names, as `summer-to-winter`; by default the first one of the snapshot.
        device: `cpu`, `cuda`, `cuda:1`, ...; `auto` takes a GPU if there is one.
        tile: images with a longer side, in pixels, are computed in tiles of this side, in less memory and equal within
            rounding; 0: none are.
        whole_pixels: images of at most so many pixels, width times height, are computed in one piece in any case.
        black: the value of images with more than 8 bits that is black; by default the one of training, else 0.
        white: the one that is white; by default the one of training, else the largest of their bits.

    Attributes:
        direction: AB or BA.
        in_channels, out_channels: of the images that the network takes, and of the translations.
        multiple, device: that sides are padded to multiples of, and where it computes.
        values_in: range of the images that the network was trained on; None if these have 8 bits.
        values_out: range of the translations; None if they have 8 bits.
        bands: those taken of files, as in training; None if none were chosen.

    Raises:
        UsageError: if the snapshot lacks the direction or is damaged, or device, tile, black or white cannot be used.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        direction: str | None = None,
        device: torch.device | str = "auto",
        *,
        tile: int = 0,
        whole_pixels: int = 0,
        black: float | None = None,
        white: float | None = None,
    ):
        self.direction = snapshot.direction(direction or snapshot.directions[0])
        self.in_channels, self.out_channels = snapshot.channels(self.direction)
        self.values_in, self.values_out = map(snapshot.values, self.direction)
        self.bands = snapshot.bands(self.direction[0])
        self._black, self._white = black, white
        self._tile, self._whole_pixels = tile, whole_pixels
        self.multiple, self.device = snapshot.generator_config.multiple, usable(device)
        self._network = snapshot.generator(self.direction, self.device)
        if tile:
            tileable(self._network, tile)

    @overload
    def translate(self, image: Tensor) -> Tensor: ...
    @overload
    def translate(self, image: np.ndarray) -> np.ndarray: ...
    @overload
    def translate(self, image: ImageFile | Image.Image) -> Image.Image: ...
    @overload
    def translate(self, image: list[Any]) -> list[Any]: ...
    def translate(self, image: Any) -> Any:
        """Translate an image of any size, or each of a list; grey and colour are converted as needed.

        Args:
            image: a file's path or its bytes, a PIL image, an array H x W x C or H x W, a tensor C x H x W, or a list
                of such. Their values are uint8, 0 to 255, or of a type with more bits, which `decode` scales.

        Returns:
            The translation in the same size: a PIL image for a file or a PIL image, an array H x W x C' for an array, a
            tensor C' x H x W on the CPU for a tensor, a list for a list. Arrays, tensors and grey PIL images have the
            values of `values_out`, or are uint8 if that is None.

        Raises:
            UnreadableImageError: if it is not such an image, or its channels do not fit.
            UsageError: if the translation cannot be a PIL image, or the temporary folder for tiles is full.
        """
        if isinstance(image, list):
            return [self.translate(one) for one in cast(list[Any], image)]  # not at once, which rounds differently
        as_picture = not isinstance(image, Tensor | np.ndarray)
        wider = self.values_out is not None and (self.out_channels == 3 or self.values_out.dtype not in _OF_PILLOW)
        if as_picture and (wider or self.out_channels not in PICTURES):
            kind = f"{self.out_channels} channels" + (f" of {self.values_out.dtype}" if self.values_out else "")
            raise UsageError(f"the translation has {kind}, which no PIL image has: give an array or a tensor")
        (made,) = self.translate_batch([self.decode(image)])
        if self.values_out is not None:
            made = torch.from_numpy(self.values_out.from_unit(made))
        array = made.permute(1, 2, 0).numpy() if isinstance(image, np.ndarray) else made
        return to_pillow(made) if as_picture else array

    def translate_batch(self, images: Sequence[Tensor] | Tensor) -> list[Tensor]:
        """Translate decoded images of any sizes and `in_channels` channels, those of equal size at once.

        Args:
            images: C x H x W, uint8 or float32 in [-1, 1].

        Returns:
            For each image its translation, C' x H x W on the CPU: uint8, or float32 in [-1, 1] if there are
            `values_out`. What one becomes can depend by rounding on how many are computed with it.

        Raises:
            UsageError: if the temporary folder for tiles is full.
        """
        same_size: dict[torch.Size, list[int]] = defaultdict(list)
        for position, image in enumerate(images):
            same_size[image.shape].append(position)
        made: dict[int, Tensor] = {}
        for (_, height, width), positions in same_size.items():
            if 0 < self._tile < max(height, width) and height * width > self._whole_pixels:
                made |= {i: translate_tiled(self._network, images[i], self._tile, self._finished) for i in positions}
            else:
                batch = inference.outputs(self._network, torch.stack([images[i] for i in positions]))
                made |= dict(zip(positions, self._finished(batch), strict=True))
        return [made[position] for position in range(len(images))]

    def translate_windows(self, image: ImageSource) -> Iterator[tuple[Window, Tensor]]:
        """Translate a decoded image that is too large for memory, in tiles, whether or not it fits in one.

        Yields:
            Windows that cover the image, and the translation of each, as of `translate_batch`.

        Raises:
            UsageError: if the translator has no `tile`, or the temporary folder has no room.
        """
        for window, values in tiled_outputs(tileable(self._network, self._tile), image, self._tile):
            yield window, self._finished(values)

    def tile_bytes(self, shape: Shape) -> int:
        """Bytes of the temporary folder that `translate_windows` needs for an image, C x H x W."""
        return layer_bytes(tileable(self._network, self._tile), shape)

    def _finished(self, values: Tensor) -> Tensor:
        return to_bytes(values) if self.values_out is None else values.cpu().float()

    def read(self, source: Path | bytes, max_pixels: int = MAX_PIXELS, *, prepared: bool = False) -> Picture:
        """An image file, for `decode`.

        Args:
            source: path or content.
            max_pixels: width times height that is read.
            prepared: whether it is a sample of a data set, which holds the chosen bands only.

        Raises:
            UnreadableImageError: as `read_image`.
        """
        white = self._white if self._white is not None else self.values_in.white if self.values_in else None
        return read_image(source, bands=None if prepared else self.bands, max_pixels=max_pixels, white=white)

    def decode(self, image: Tensor | np.ndarray | ImageFile | Image.Image | Picture) -> Tensor:
        """Any image that `translate` takes, or `read` returns, as C x H x W with `in_channels` channels: uint8, or
        float32 in [-1, 1] if there are `values_in`.

        uint8 images are black at 0 and white at 255. Those with more bits are scaled by `black` and `white`; without
        these by `values_in`; and else, if they are unsigned with 16 bits or fewer, from 0 to the largest value of these
        bits.

        Raises:
            UnreadableImageError: as `translate`; and if there is no range for them, because they have another type, or
                their largest value lies below a quarter of that.
        """
        picture = image if isinstance(image, Picture) else self._picture(image)
        pixels, bits = picture.pixels, picture.source.bits
        if pixels.dtype not in _DTYPES or pixels.ndim != 3 or not pixels.numel():
            raise UnreadableImageError(
                f"no image: {' x '.join(map(str, pixels.shape))} of {pixels.dtype}; give {', '.join(VALUES)}, a tensor "
                "as C x H x W, an array as H x W x C"
            )
        return self.scaled(pixels, self.range_of(pixels.dtype, bits, lambda: int(pixels.numpy().max())))

    def _picture(self, image: Tensor | np.ndarray | ImageFile | Image.Image) -> Picture:
        """The values of an image in their own type."""
        if isinstance(image, Image.Image):
            if image.mode in ("F", "I"):
                values = np.asarray(image)
                if image.mode == "F" or values.min() < 0 or values.max() > 65535:  # which no PNG has
                    return self._picture(values)
            file = io.BytesIO()  # so that palettes, transparency and 16 bits become the same as those of files
            try:
                image.save(file, "PNG", compress_level=1)
            except OSError as error:
                raise UnreadableImageError(f"{error}: convert it to RGB") from error
            image = file.getvalue()
        if isinstance(image, bytes | str | os.PathLike):
            return self.read(image if isinstance(image, bytes) else Path(image))
        if isinstance(image, np.ndarray):
            name = WIDER.get(image.dtype.name, image.dtype.name)
            if name not in VALUES:
                raise UnreadableImageError(f"an array of {image.dtype}: give {', '.join(VALUES)}")
            native = np.ascontiguousarray(np.atleast_3d(image), name)
            image = torch.from_numpy(native).permute(2, 0, 1) if native.ndim == 3 else torch.from_numpy(native)
        if not isinstance(image, Tensor):
            raise UnreadableImageError(f"{type(image).__name__} is no image: give a path, PIL image, array or tensor")
        return Picture(image, "", as_is=False, source=Source(8 * image.element_size()))

    def range_of(self, dtype: torch.dtype, bits: int, largest: Callable[[], int]) -> ValueRange | None:
        """The range that images of a type are read with; None for uint8 images of a domain of 8 bits.

        Args:
            dtype: of the images' values.
            bits: of these that are used.
            largest: computes the largest of them; called only if they are of uint16 and of unknown range.

        Raises:
            UnreadableImageError: as `decode`.
        """
        if dtype == torch.uint8:
            return self.values_in
        known, name, limit = self.values_in, _DTYPES[dtype], 2**bits - 1
        if known is not None and name != known.dtype and self._white is None:
            raise UnreadableImageError(
                f"its values are of {name}, and the model was trained on {known}: give white and black, the values "
                "that are white and black in it"
            )
        if known is None and self._white is None:
            if name != "uint16":
                raise UnreadableImageError(f"values of {name} have no known range: give white, the value that is white")
            if (found := largest()) < limit // 4:
                raise UnreadableImageError(
                    f"its largest value, {found}, is less than a quarter of the {limit} of {bits} bits: give white, "
                    f"the value that is white ({limit} if it is meant to be dark), or scale the image"
                )
        black = self._black if self._black is not None else known.black if known else 0.0
        white = self._white if self._white is not None else known.white if known else limit
        try:
            return ValueRange(name, black, white)
        except ValueError as error:
            raise UnreadableImageError(str(error)) from error

    def used(self, picture: Picture) -> tuple[float, float]:
        """How the values of a file lie in the range that `decode` reads them with: the share of them that is clipped,
        and how much of the range they reach, from 0 (all are black) to 1. (0, 1) for files of 8 bits.
        """
        values = self.range_of(picture.pixels.dtype, picture.source.bits, lambda: int(picture.pixels.numpy().max()))
        if values is None or picture.pixels.dtype == torch.uint8:
            return 0.0, 1.0
        pixels = picture.pixels.double()
        clipped = ((pixels < values.black) | (pixels > values.white)).double().mean()
        return float(clipped), float((pixels.max() - values.black) / (values.white - values.black))

    def scaled(self, pixels: Tensor, values: ValueRange | None) -> Tensor:
        """C x h x w values of a file, or a part of it, as `decode` returns them; `values` as of `range_of`.

        Raises:
            UnreadableImageError: if the channels do not fit.
        """
        if len(pixels) != self.in_channels and not {len(pixels), self.in_channels} <= set(PICTURES):
            raise UnreadableImageError(
                f"the image has {len(pixels)} channels, and direction {self.direction} takes {self.in_channels}"
            )
        if pixels.is_floating_point() and not bool(pixels.isfinite().all()):  # arrays, and parts of large files
            raise UnreadableImageError("some of its values are NaN or infinite: replace them")
        if values is not None:
            pixels = values.to_unit(pixels)
        return with_channels(pixels if self.values_in is not None else windowed(pixels), self.in_channels)


def open_translators(
    snapshot: Snapshot, device: torch.device | str = "auto", *, tile: int = 0, whole_pixels: int = 0
) -> dict[str, Translator]:
    """For each direction that the snapshot has its `Translator`: where there are both, one reconstructs images that the
    other has translated.
    """
    options = {"tile": tile, "whole_pixels": whole_pixels}
    return {direction: Translator(snapshot, direction, device, **options) for direction in snapshot.directions}
