"""Images with other than 1 or 3 channels: `.npy` files of H x W x C (or H x W) uint8 or uint16.

`numpy.load` is not used: it allocates the size in the header before it checks that so many bytes follow.
"""

import io
import math
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

MAGIC = b"\x93NUMPY"
PICTURES = (1, 3)  # channels that picture files can have; any other number is stored as .npy


def read_array(file: BinaryIO, *, max_pixels: int) -> np.ndarray:
    """The H x W x C uint8 array of an `.npy` file, open at its start; of uint16 the upper byte.

    Raises:
        ValueError: if it is of another kind, larger than allowed, or not as long as its header says.
    """
    shape, column_major, kind = _header(file)
    if kind.kind != "u" or kind.itemsize > 2:
        raise ValueError(f"an array of {kind}: save it as uint8 or uint16")
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(f"an array of shape {shape}: save it as height x width x channels")
    if shape[0] * shape[1] > max_pixels:
        raise ValueError(f"{shape[1]}x{shape[0]} are more than the {max_pixels:,} pixels we read: reduce it")
    expected = math.prod(shape) * kind.itemsize
    start = file.tell()
    found = file.seek(0, io.SEEK_END) - start
    if found != expected:
        raise ValueError(f"its header announces {expected} bytes of pixels, {found} follow")
    file.seek(start)
    array = np.frombuffer(file.read(expected), kind).reshape(shape, order="F" if column_major else "C")
    if kind.itemsize == 2:
        array = (array >> 8).astype(np.uint8)
    return np.array(array.reshape(*shape[:2], -1), order="C")


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    # Version 1.0 has at most 64 KB of header; the others exist for names of fields, which images do not have.
    if npy.read_magic(file) != (1, 0):
        raise ValueError("an .npy file of a version that plain arrays do not need: save it with numpy.save")
    return npy.read_array_header_1_0(file)


def array_bytes(array: np.ndarray) -> bytes:
    """An array as the content of an `.npy` file; no pickle."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()
