"""A cache of decoded and resized images on a local disk, which then only need to be cropped."""

import math
import mmap
import os
import socket
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cyclegan_dist.data.reader import DataError

_BYTE = np.dtype(np.uint8)
Gather = Callable[[Any], list[Any]]
"""Exchanges a value: those of all ranks, in rank order, on every rank."""


def alone(value: Any) -> list[Any]:
    """`Gather` of a single rank."""
    return [value]


class PixelCache:
    """The first images of a domain, C x H x W of one size and type, by their index.

    An unnamed file in TMPDIR, mapped into memory by all ranks of a node and their loader processes: the process that
    decodes an image first writes it for all of them, and the system keeps as much of the file in memory as fits. The
    file disappears with its processes, however they end, and other runs have files of their own.

    Ranks share a file if one can open the other's, in /proc; where there is none, each has its own. All ranks create
    the cache together.

    Args:
        samples: images of the domain.
        shape: of each.
        limit_bytes: of pixels; images beyond it are not cached.
        gather: exchanges values between the ranks of all nodes.
        dtype: of the pixels.

    Raises:
        DataError: on all ranks, if a node's disk has no room.
    """

    def __init__(
        self,
        samples: int,
        shape: tuple[int, int, int],
        limit_bytes: int,
        gather: Gather = alone,
        dtype: np.dtype = _BYTE,
    ):
        size = math.prod(shape) * dtype.itemsize
        self.held = min(samples, limit_bytes // size)
        memory: mmap.mmap | bytes = b""
        if self.held:
            memory = _shared_memory(self.held * (size + 1), gather)
        # Their pixels, and then one byte for each image, which says whether it is there.
        self._pixels = np.frombuffer(memory, dtype, self.held * math.prod(shape)).reshape(self.held, *shape)
        self._known = np.frombuffer(memory, np.uint8, offset=self.held * size)

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


class _OpenFile(NamedTuple):
    """How other processes of a node can open a file that a process holds open and that has no name."""

    node: str
    process: int
    descriptor: int
    device: int
    inode: int

    @classmethod
    def of(cls, file: BinaryIO) -> "_OpenFile":
        facts = os.fstat(file.fileno())
        return cls(_node(), os.getpid(), file.fileno(), facts.st_dev, facts.st_ino)

    def open(self) -> BinaryIO | None:
        """The same file, or None if this process cannot open it."""
        try:
            file = os.fdopen(os.open(f"/proc/{self.process}/fd/{self.descriptor}", os.O_RDWR), "r+b")
        except OSError:
            return None
        facts = os.fstat(file.fileno())
        if (facts.st_dev, facts.st_ino) == (self.device, self.inode):
            return file
        file.close()
        return None


def _node() -> str:
    """Equal for processes that see each other in /proc; no two others have the same."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return uuid.uuid4().hex


def _shared_memory(size: int, gather: Gather) -> mmap.mmap:
    """Zeros in a file that the ranks of this node share: that of the first of them."""
    with tempfile.TemporaryFile() as own:
        mine = _OpenFile.of(own)
        first = next(offer for offer in gather(mine) if offer.node == mine.node)
        shared = first.open() if first != mine else None
        problem = "" if shared else _reserve(own, size)
        # Until this returns on a rank, others may not have opened its file yet.
        problems = list(filter(None, gather(problem)))
        with shared or own as file:
            if problems:
                raise DataError(problems[0])
            return mmap.mmap(file.fileno(), size)


def _reserve(file: BinaryIO, size: int) -> str:
    """Reserve disk space now, because a full disk at a later write would kill the process. Returns what is wrong."""
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        return (
            f"data.cache_gb: {tempfile.gettempdir()} on {socket.gethostname()} has no room for {size / 1e9:.1f} GB "
            f"({error.strerror}): lower it, or point TMPDIR to another disk"
        )
    return ""
