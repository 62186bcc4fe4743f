"""`.npy` files: images of H x W x C (or H x W) values, of any number of channels and of 8 bits or more.

`numpy.load` is not used: it allocates the size in the header before it checks that so many bytes follow.
"""

import io
import math
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from cyclegan_dist.data.values import DTYPES

MAGIC = b"\x93NUMPY"
PICTURES = (1, 3)  # channels that picture files can have; any other number is stored as .npy
WIDER = {"int8": "int16", "float16": "float32"}  # types that are read as another one, which holds all their values
VALUES = ("uint8", *DTYPES)


def read_array(file: BinaryIO, *, max_pixels: int) -> np.ndarray:
    """The H x W x C array of an `.npy` file, open at its start, of one of the types `VALUES`.

    Raises:
        ValueError: if it is of another kind, larger than allowed, or not as long as its header says.
    """
    shape, column_major, kind = _header(file)
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(f"an array of shape {shape}: save it as height x width x channels")
    if shape[0] * shape[1] > max_pixels:
        raise ValueError(too_large(shape[1], shape[0], max_pixels))
    expected = math.prod(shape) * kind.itemsize
    start = file.tell()
    found = file.seek(0, io.SEEK_END) - start
    if found != expected:
        raise ValueError(f"its header announces {expected} bytes of pixels, {found} follow")
    file.seek(start)
    array = np.frombuffer(file.read(expected), kind).reshape(shape, order="F" if column_major else "C")
    return np.array(array.reshape(*shape[:2], -1), WIDER.get(kind.name, kind.name), order="C")


def array_type(file: BinaryIO) -> np.dtype:
    """The type of the values of an `.npy` file, open at its start.

    Raises:
        ValueError: if images cannot have it.
    """
    return _header(file)[2]


def too_large(width: int, height: int, max_pixels: int) -> str:
    """The reason to refuse an image."""
    return (
        f"{width}x{height} are more than the {max_pixels:,} pixels we read: reduce it, or raise --max-megapixels to "
        f"{math.ceil(width * height / 1e6)}"
    )


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    # Version 1.0 has at most 64 KB of header; the others exist for names of fields, which images do not have.
    if npy.read_magic(file) != (1, 0):
        raise ValueError("an .npy file of a version that plain arrays do not need: save it with numpy.save")
    header = npy.read_array_header_1_0(file)
    name = header[2].name
    if WIDER.get(name, name) not in VALUES:
        raise ValueError(f"an array of {header[2]}: save it as {', '.join(VALUES[:-1])} or {VALUES[-1]}")
    return header


def array_bytes(array: np.ndarray) -> bytes:
    """An array as the content of an `.npy` file; no pickle."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()
