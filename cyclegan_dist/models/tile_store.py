"""Images and layers of a network that are read and written window by window, with running statistics."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cyclegan_dist.data.images import to_unit_range

Shape = tuple[int, int, int]  # channels x height x width


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


class Pixels:
    """A C x H x W uint8 image in [-1, 1], enlarged by `down` rows and `right` columns."""

    def __init__(self, image: Tensor, down: int, right: int, mode: Literal["reflect", "edge"], like: Tensor):
        self._image = np.pad(image.numpy(), ((0, 0), (0, down), (0, right)), mode=mode)
        self._like = like
        channels, height, width = self._image.shape
        self.shape: Shape = (channels, height, width)

    def read(self, window: Window) -> Tensor:
        part = self._image[:, window.top : window.bottom, window.left : window.right]
        return to_unit_range(torch.from_numpy(part), self._like.device, self._like.dtype)

    def close(self) -> None:
        """There is no file."""


class StoredLayer:
    """Activations in a file, height x width x channels, and functions to apply to them after they are read.

    The file is mapped anew for each window: pages that stay mapped would count as memory of this process.
    """

    def __init__(self, shape: Shape, folder: Path, like: Tensor):
        self.shape, self._like = shape, like
        self._dtype = like.cpu().numpy().dtype
        self._then: list[Callable[[Tensor], Tensor]] = []
        self._statistics = Statistics(shape[0], like)
        handle, self._path = tempfile.mkstemp(dir=folder)
        try:
            # All of its space now: writing to a mapped file on a full disk would end the process.
            os.posix_fallocate(handle, 0, int(np.prod(shape)) * self._dtype.itemsize)
        finally:
            os.close(handle)

    def read(self, window: Window) -> Tensor:
        part = self._mapped("r")[window.top : window.bottom, window.left : window.right]
        x = torch.from_numpy(np.array(part)).to(self._like.device).permute(2, 0, 1)
        for change in self._then:
            x = change(x)
        return x

    def write(self, window: Window, values: Tensor) -> None:
        part = self._mapped("r+")[window.top : window.bottom, window.left : window.right]
        part[:] = values.permute(1, 2, 0).cpu().numpy()
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
        os.unlink(self._path)

    def _mapped(self, mode: Literal["r", "r+"]) -> np.ndarray:
        channels, height, width = self.shape
        return np.memmap(self._path, self._dtype, mode, shape=(height, width, channels))


Layer = Pixels | StoredLayer


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
