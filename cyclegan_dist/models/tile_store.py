"""Images and layers of a network that are read and written window by window, with running statistics."""

import math
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from cyclegan_dist.data.images import to_unit_range

Shape = tuple[int, int, int]  # channels x height x width
_MAPPED_ROWS = 128


class Window(NamedTuple):
    """Rows `top` to `bottom` and columns `left` to `right`, the last ones not included."""

    top: int
    bottom: int
    left: int
    right: int


def windows(shape: Shape, parts: tuple[int, int]) -> Iterator[Window]:
    """Windows that cover a layer, at most so many from top to bottom and from left to right; they begin at even
    pixels.
    """
    steps = [2 * -(-side // (2 * n)) for side, n in zip(shape[1:], parts, strict=True)]
    for top in range(0, shape[1], steps[0]):
        for left in range(0, shape[2], steps[1]):
            yield Window(top, min(top + steps[0], shape[1]), left, min(left + steps[1], shape[2]))


class ImageSource(Protocol):
    """An image, C x H x W, that is read window by window."""

    shape: Shape

    def read(self, window: Window) -> Tensor:
        """C x h x w, uint8 or float32 in [-1, 1]."""
        ...


class ImageInMemory:
    """A C x H x W tensor as an `ImageSource`."""

    def __init__(self, image: Tensor):
        self._image = image
        channels, height, width = image.shape
        self.shape: Shape = (channels, height, width)

    def read(self, window: Window) -> Tensor:
        return self._image[:, window.top : window.bottom, window.left : window.right]


class PaddedImage:
    """An image in [-1, 1], enlarged by `down` rows and `right` columns."""

    def __init__(self, image: ImageSource, down: int, right: int, mode: Literal["reflect", "replicate"], like: Tensor):
        self._image, self._mode, self._like = image, mode, like
        channels, height, width = image.shape
        self.shape: Shape = (channels, height + down, width + right)

    def read(self, window: Window) -> Tensor:
        _, height, width = self._image.shape
        rows = self._inside(window.top, window.bottom, height)
        columns = self._inside(window.left, window.right, width)
        top, left = int(rows.min()), int(columns.min())
        part = self._image.read(Window(top, int(rows.max()) + 1, left, int(columns.max()) + 1))
        part = part[:, rows - top][:, :, columns - left]
        return to_unit_range(part, self._like.device, self._like.dtype)

    def _inside(self, start: int, stop: int, side: int) -> Tensor:
        """Positions in the image of positions in the enlarged one."""
        positions = torch.arange(start, stop)
        beyond = 2 * (side - 1) - positions if self._mode == "reflect" else torch.full_like(positions, side - 1)
        return torch.where(positions < side, positions, beyond)

    def close(self) -> None:
        """There is no file."""


class StoredPixels:
    """Pixels in a file, height x width x channels.

    The file is mapped anew for some rows of a window at a time: pages that stay mapped would count as memory of this
    process, and with each the system maps some around it.
    """

    def __init__(self, path: Path, dtype: np.dtype, shape: Shape, offset: int = 0):
        self.path, self.shape, self._dtype, self._offset = path, shape, dtype, offset

    def reserve(self) -> None:
        """Take all space on disk, because writing to a mapped file on a full disk would end the process.

        Raises:
            OSError: if it is full.
        """
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            os.posix_fallocate(file.fileno(), self._offset, math.prod(self.shape) * self._dtype.itemsize)

    def read(self, window: Window) -> Tensor:
        """C x h x w, on the CPU, in the machine's byte order."""
        top, bottom, left, right = window
        part = np.empty((bottom - top, right - left, self.shape[0]), self._dtype.newbyteorder("="))
        for rows in self._mapped_rows(top, bottom):
            part[rows.start - top : rows.stop - top] = self._mapped("r")[rows, left:right]
        return torch.from_numpy(part).permute(2, 0, 1)

    def write(self, window: Window, pixels: np.ndarray, channel: int = 0) -> None:
        """Write n x h x w as n channels from `channel` on."""
        top, bottom, left, right = window
        part = pixels.transpose(1, 2, 0)
        for rows in self._mapped_rows(top, bottom):
            mapped = self._mapped("r+")[rows, left:right, channel : channel + len(pixels)]
            mapped[:] = part[rows.start - top : rows.stop - top]

    def _mapped_rows(self, top: int, bottom: int) -> Iterator[slice]:
        for start in range(top, bottom, _MAPPED_ROWS):
            yield slice(start, min(start + _MAPPED_ROWS, bottom))

    def _mapped(self, mode: Literal["r", "r+"]) -> np.ndarray:
        channels, height, width = self.shape
        return np.memmap(self.path, self._dtype, mode, self._offset, (height, width, channels))


class StoredLayer:
    """Activations in a file, and functions to apply to them after they are read."""

    def __init__(self, shape: Shape, folder: Path, like: Tensor):
        self.shape, self._like = shape, like
        self._then: list[Callable[[Tensor], Tensor]] = []
        self._statistics = Statistics(shape[0], like)
        handle, path = tempfile.mkstemp(dir=folder)
        os.close(handle)
        self._stored = StoredPixels(Path(path), like.cpu().numpy().dtype, shape)
        self._stored.reserve()

    def read(self, window: Window) -> Tensor:
        x = self._stored.read(window).to(self._like.device)
        for change in self._then:
            x = change(x)
        return x

    def write(self, window: Window, values: Tensor) -> None:
        self._stored.write(window, values.cpu().numpy())
        self._statistics.add(values)

    def then(self, change: Callable[[Tensor], Tensor]) -> None:
        """Apply `change`, a function of each pixel alone, to what is read from now on."""
        self._then.append(change)

    def normalise(self, eps: float) -> None:
        """Instance norm with the mean and variance of everything that was written."""
        mean, scale = self._statistics.result(eps)
        self.then(lambda x: (x - mean) * scale)

    def close(self) -> None:
        """Delete the file."""
        self._stored.path.unlink()


Layer = PaddedImage | StoredLayer


class Statistics:
    """Mean and variance of each channel, out of those of the tiles, in double precision (Chan et al. 1979)."""

    def __init__(self, channels: int, like: Tensor):
        self._dtype, self._count = like.dtype, 0
        self._mean, self._squares = torch.zeros(2, channels, dtype=torch.float64, device=like.device)

    def add(self, tile: Tensor) -> None:
        n = tile[0].numel()
        mean = tile.sum((1, 2), dtype=torch.float64) / n
        centre = mean.to(tile.dtype)
        squares = (tile - centre[:, None, None]).square_().sum((1, 2), dtype=torch.float64) - n * (mean - centre) ** 2
        total, apart = self._count + n, mean - self._mean
        self._squares = self._squares + squares + apart**2 * (self._count * n / total)
        self._mean = self._mean + apart * (n / total)
        self._count = total

    def result(self, eps: float) -> tuple[Tensor, Tensor]:
        """Mean and 1 / sqrt(variance + eps), each channels x 1 x 1."""
        scale = (self._squares / self._count + eps).rsqrt()
        return self._mean.to(self._dtype)[:, None, None], scale.to(self._dtype)[:, None, None]
