"""How an image file becomes an array, for preparing, training, translating and serving.

Files are untrusted: sizes are checked before pixels are read, only the formats listed here are tried (Pillow supports
some that start other programs), and every failure is an `UnreadableImageError`.
"""

import io
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from cyclegan_dist.data.arrays import MAGIC, array_type, read_array
from cyclegan_dist.data.config import MAX_FILE_BYTES, MAX_PIXELS
from cyclegan_dist.data.files import FORMATS
from cyclegan_dist.data.layers import Layers
from cyclegan_dist.data.picture import Picture, UnreadableImageError
from cyclegan_dist.data.pillow_files import is_deep, read_by_pillow
from cyclegan_dist.data.tiff import MAGIC as TIFF_MAGIC
from cyclegan_dist.data.tiff import read_tiff, tiff_bits

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def read_image(
    source: Path | bytes,
    *,
    bands: Sequence[int] | None = None,
    max_pixels: int = MAX_PIXELS,
    white: float | None = None,
) -> Picture:
    """The first frame of an image file, on disk or in memory, or the array of an `.npy` file.

    Args:
        source: path or content.
        bands: to take, from 1 on, in this order; an empty sequence takes all. Transparency is then a band like others.
            None: all, and what a file says is transparency is put over white.
        max_pixels: width times height that is read; the largest file grows with it.
        white: the value that is white, for transparency of more than 8 bits; None: the largest value of these bits.

    Raises:
        UnreadableImageError: if it is not an image, is damaged or too large, or lacks a band.
    """
    try:
        with _opened(source, max_pixels) as file:
            picture = _read(file, bands, max_pixels, white)
            if picture.pixels.is_floating_point() and not bool(picture.pixels.isfinite().all()):
                raise UnreadableImageError("some of its values are NaN or infinite: replace them")
            return picture
    except UnreadableImageError:
        raise
    except Image.UnidentifiedImageError:
        raise UnreadableImageError(f"no image: neither {', '.join(FORMATS)} nor .npy") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # before its size can be seen
        raise UnreadableImageError(
            f"more than the {max_pixels:,} pixels we read: reduce it, or raise --max-megapixels"
        ) from None
    except ImportError as error:
        raise UnreadableImageError(f"reading it needs the package {error.name}: pip install {error.name}") from None
    except Exception as error:  # damaged files make decoders raise nearly anything, struct.error for one
        raise UnreadableImageError(str(error) or type(error).__name__) from error


def has_more_than_eight_bits(source: Path, max_pixels: int = MAX_PIXELS) -> bool:
    """Whether the header of a file says that its values have more than 8 bits; False if it cannot be read."""
    try:
        with _opened(source, max_pixels) as file:
            start = file.read(26)
            file.seek(0)
            if start.startswith(MAGIC):
                return array_type(file).name != "uint8"
            if start.startswith(PNG_MAGIC):
                return start[24] > 8
            if start[:4] in TIFF_MAGIC:
                return tiff_bits(file) > 8
            return start[:1] == b"P" and is_deep(file)
    except Exception:  # any error: reading the file says what is wrong with it
        return False


def _read(file: BinaryIO, bands: Sequence[int] | None, max_pixels: int, white: float | None) -> Picture:
    start = file.read(8)
    file.seek(0)
    if start.startswith(MAGIC):
        values = read_array(file, max_pixels=max_pixels)
        return Layers(values, 8 * values.itemsize).picture(bands)
    if start[:4] in TIFF_MAGIC and (layers := read_tiff(file, max_pixels)):
        return layers.picture(bands, white)
    file.seek(0)
    return read_by_pillow(file, bands, max_pixels, white)


def largest_file(max_pixels: int) -> int:
    """Bytes of the largest file that is read."""
    return max(MAX_FILE_BYTES, MAX_FILE_BYTES * max_pixels // MAX_PIXELS)


def _opened(source: Path | bytes, max_pixels: int) -> BinaryIO:
    """A regular file, opened, of a size that fits so many pixels."""
    if isinstance(source, bytes):
        size = len(source)
    else:
        facts = source.stat()
        if stat.S_ISDIR(facts.st_mode):
            raise UnreadableImageError("a folder, or a link to one, which is not followed: give or move its files")
        if not stat.S_ISREG(facts.st_mode):
            raise UnreadableImageError("a device or pipe, no file")
        size = facts.st_size
    most = largest_file(max_pixels)
    if size > most:
        raise UnreadableImageError(f"{size:,} bytes are more than the {most:,} we read: raise --max-megapixels")
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
