"""TIFF files as arrays of all their bands, by tifffile. Palettes, inks and colour differences of 8 bits are left to
Pillow.
"""

import logging
import math
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from cyclegan_dist.data.arrays import VALUES, WIDER, too_large
from cyclegan_dist.data.layers import Layers
from cyclegan_dist.data.picture import UnreadableImageError

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MOST_BYTES = 16  # of values for each pixel that may be read
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, SEPARATED, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
JPEG = (6, 7)
# Those whose decoders never write more than a strip or tile is said to hold, and JPEG, whose headers are compared.
COMPRESSIONS = {1, 2, 3, 4, 5, *JPEG, 8, 32773, 32946, 34925, 50000}
PILLOWS_COMPRESSIONS = {32809, 50001}  # ThunderScan and WebP
logging.getLogger("tifffile").addHandler(logging.NullHandler())  # it prints what it raises as well


def read_tiff(file: BinaryIO, max_pixels: int) -> Layers | None:
    """The first page of a TIFF file; None if it is of a kind that Pillow reads.

    Raises:
        UnreadableImageError, and nearly anything else if it is damaged.
    """
    with open_tiff(file) as tiff:
        page = tiff.pages.first
        refuse_large(page, max_pixels)
        if _is_pillows(page):
            return None
        refuse_unreadable(page, file)
        values, bits = _values(page)
        alpha, premultiplied = _alpha(page)
        note = ""
        if int(page.photometric) == WHITE_IS_ZERO:
            if values.dtype.kind == "u":
                values = 2**bits - 1 - values
            else:
                note = f"WhiteIsZero, which its {values.dtype} values cannot have, was ignored"
        return Layers(
            values,
            bits,
            alpha,
            premultiplied,
            orientation=int(page.tags.valueof(274, 1)),
            profile=bytes(page.tags.valueof(34675) or b""),
            note="; ".join(filter(None, ("first of several frames taken" * has_more(tiff), note))),
        )


def tiff_bits(file: BinaryIO) -> int:
    """Bits of each value of the first page, as `Layers.bits`; signed values of 8 bits have 16."""
    with open_tiff(file) as tiff:
        page = tiff.pages.first
        return _bits(page) if page.dtype is not None else 8


def open_tiff(file: BinaryIO) -> "TiffFile":
    """The structure of a TIFF file; nearly any exception if it is damaged."""
    from tifffile import TiffFile

    # Pages are read as TIFF says: for these kinds of files it would read all of them at once.
    return TiffFile(file, is_lsm=False, is_ndpi=False, is_scanimage=False)


def _bits(page: "TiffPage") -> int:
    assert page.dtype is not None
    if page.dtype.kind in "if":
        return 8 * np.dtype(WIDER.get(page.dtype.name, page.dtype.name)).itemsize
    return page.bitspersample if isinstance(page.bitspersample, int) else 8


def _is_pillows(page: "TiffPage") -> bool:
    eight = isinstance(page.bitspersample, int) and page.bitspersample <= 8
    kinds = (PALETTE, SEPARATED, YCBCR, LAB)
    return eight and (int(page.photometric) in kinds or int(page.compression) in PILLOWS_COMPRESSIONS)


def refuse_unreadable(page: "TiffPage", file: BinaryIO) -> None:
    """Refuse what is not read, or would unpack to more than its size.

    Raises:
        UnreadableImageError: with the reason.
    """
    _refuse_unknown(page)
    _refuse_incomplete(page, file)


def refuse_large(page: "TiffPage", max_pixels: int) -> None:
    """Before any pixel is read. A tile is unpacked whole, however small the image."""
    sizes = [(page.imagewidth, page.imagelength)]
    if page.is_tiled:
        sizes.append((page.tilewidth, page.tilelength))
    for width, height in sizes:
        if width * height > max_pixels:
            raise UnreadableImageError(too_large(width, height, max_pixels))
        if width * height < 1:
            raise UnreadableImageError(f"{width}x{height} pixels")
        size = width * height * page.samplesperpixel * (page.dtype.itemsize if page.dtype else 1)
        if size > MOST_BYTES * max_pixels:
            raise UnreadableImageError(
                f"{width}x{height} pixels of {page.samplesperpixel} bands are {size:,} bytes, more than the "
                f"{MOST_BYTES * max_pixels:,} we read: raise --max-megapixels to {math.ceil(size / MOST_BYTES / 1e6)}"
            )


def _refuse_unknown(page: "TiffPage") -> None:
    if page.imagedepth != 1 or page.tiledepth != 1:
        raise UnreadableImageError("a volume: save its planes as images, or as the bands of one")
    if int(page.photometric) not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB):
        raise UnreadableImageError(f"its colours are of kind {_name(page.photometric)}: save it as grey or RGB")
    if int(page.compression) not in COMPRESSIONS:
        raise UnreadableImageError(f"its compression is {_name(page.compression)}: save it with LZW or Deflate")
    if page.dtype is None or WIDER.get(page.dtype.name, page.dtype.name) not in (*VALUES, "bool"):
        kind = page.dtype or f"{page.bitspersample} bits"
        raise UnreadableImageError(f"values of {kind}: save them as {', '.join(VALUES[:-1])} or {VALUES[-1]}")


def _name(value: Any) -> str:
    return str(getattr(value, "name", value))


def _refuse_incomplete(page: "TiffPage", file: BinaryIO) -> None:
    """Strips or tiles that the file does not hold, and JPEG that would unpack to more than their size."""
    from tifffile.tifffile import jpeg_shape

    segments = math.prod(page.chunked)
    places = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    end = file.seek(0, 2)
    if len(places) < segments or any(offset + size > end for offset, size in places[:segments]):
        raise UnreadableImageError(f"truncated: it holds fewer bytes than its {segments} strips or tiles have")
    if int(page.compression) not in JPEG:
        return
    height, width = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    for offset, size in places[:segments]:
        file.seek(offset)
        _, found_height, found_width, _ = jpeg_shape(file.read(min(size, 1 << 16)))
        if found_height * found_width > 2 * height * width + 4096:  # a strip's may be larger by some rows
            raise UnreadableImageError(f"a JPEG of {found_width}x{found_height} within {width}x{height} pixels")


def _values(page: "TiffPage") -> tuple[np.ndarray, int]:
    """H x W x C values and their bits: those of fewer than 8 become 0 to 255."""
    found = page.asarray(squeeze=False, maxworkers=1)[:, 0]  # S x H x W x C, where S or C is 1
    values = np.moveaxis(found, 0, 2).reshape(*found.shape[1:3], -1)
    bits = _bits(page)
    if bits < 8:
        return (values.astype(np.uint16) * 255 // (2**bits - 1)).astype(np.uint8), 8
    return values.astype(WIDER.get(values.dtype.name, values.dtype.name), copy=False), bits


def _alpha(page: "TiffPage") -> tuple[int | None, bool]:
    """The index of the band that is transparency, and whether the others are premultiplied by it. A band is that only
    if the file says so; what it says nothing about is a band like others.
    """
    kinds = [int(kind) for kind in page.extrasamples]
    colours = 3 if int(page.photometric) == RGB else 1
    first = page.samplesperpixel - len(kinds)
    for index, kind in enumerate(kinds, first):
        if kind in (1, 2) and index >= colours:
            return index, kind == 1
    return None, False


def has_more(tiff: "TiffFile") -> bool:
    """Whether there is a second image that is not a smaller version of the first. Pages are not counted: their chain
    may have no end.
    """
    try:
        second = tiff.pages[1]
    except IndexError:
        return False
    return not getattr(second, "subfiletype", 0) & 0b101
