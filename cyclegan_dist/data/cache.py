"""A cache of decoded and resized images on a local disk, which then only need to be cropped."""

import math
import mmap
import os
import tempfile

import numpy as np
import torch
from torch import Tensor

from cyclegan_dist.data.reader import DataError


class PixelCache:
    """The first images of a domain, C x H x W uint8 of one size, by their index.

    An unnamed file in TMPDIR, mapped into memory and shared with every process forked from this one: the process that
    decodes an image first writes it, and the system keeps as much of the file in memory as fits. The file disappears
    with its processes, however they end.

    Args:
        samples: images of the domain.
        shape: of each.
        limit_bytes: size of the file; images beyond it are not cached.

    Raises:
        DataError: if the disk has no room.
    """

    def __init__(self, samples: int, shape: tuple[int, int, int], limit_bytes: int):
        self.held = min(samples, limit_bytes // math.prod(shape))
        size = self.held * math.prod(shape)
        self._pixels, self._known = np.empty((0, *shape), np.uint8), np.empty(0, np.uint8)
        if not self.held:
            return
        with tempfile.TemporaryFile() as file:
            try:
                # Reserved now, because a full disk at a later write would kill the process.
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                raise DataError(
                    f"data.cache_gb: {tempfile.gettempdir()} has no room for {size / 1e9:.1f} GB ({error.strerror}): "
                    "lower it, or point TMPDIR to another disk"
                ) from error
            pixels = mmap.mmap(file.fileno(), size)
        self._pixels = np.frombuffer(pixels, np.uint8).reshape(self.held, *shape)
        self._known = np.frombuffer(mmap.mmap(-1, self.held), np.uint8)

    def get(self, index: int) -> Tensor | None:
        """Image `index`, which must not be modified; None if it is not cached."""
        if index < self.held and self._known[index]:
            return torch.from_numpy(self._pixels[index])
        return None

    def put(self, index: int, image: Tensor) -> None:
        """Cache an image if there is room. Processes may do so at the same time, because they write the same bytes."""
        if index < self.held:
            self._pixels[index] = image.numpy()
            self._known[index] = 1  # after the pixels, so that they are complete where this is set
