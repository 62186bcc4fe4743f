"""TIFF images that are larger than memory: read by strips or tiles, translated in tiles, written window by window."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cyclegan_dist.data.arrays import VALUES
from cyclegan_dist.data.encode import tiff_layout
from cyclegan_dist.data.picture import UnreadableImageError
from cyclegan_dist.data.tiff import BLACK_IS_ZERO, RGB, has_more, open_tiff, refuse_large, refuse_unreadable
from cyclegan_dist.data.values import ValueRange
from cyclegan_dist.models.tile_store import ImageSource, Shape, StoredPixels, Window, windows
from cyclegan_dist.models.tiled import refuse_full_disk
from cyclegan_dist.models.translator import Translator
from cyclegan_dist.storage.files import atomic

if TYPE_CHECKING:
    from tifffile import TiffPage

LARGE = 16_000_000  # pixels: smaller images are read whole
MOST_OF_SEGMENT = 16_000_000  # pixels of a strip or tile, which is decoded in memory
SEPARATE = 2  # one band after another
ORIENTATION, COLOUR_PROFILE = 274, 34675


class LargeTiff:
    """The first image of a TIFF file, in the layout of the file or in a temporary copy.

    Attributes:
        shape: channels x height x width.
        pixels: of the file's own type.
        eight_bits: whether that is uint8.
        pages: whether the file holds more images.
    """

    def __init__(self, page: "TiffPage", path: Path, folder: Path):
        assert page.dtype is not None
        self._page, self.pages, self.eight_bits = page, has_more(page.parent), page.dtype == np.uint8
        self.shape: Shape = (page.samplesperpixel, page.imagelength, page.imagewidth)
        in_place = page.is_memmappable and page.planarconfig != SEPARATE
        dtype, offset = (
            (page.dtype.newbyteorder(page.parent.byteorder), page.dataoffsets[0]) if in_place else (page.dtype, 0)
        )
        self.pixels = StoredPixels(path if in_place else folder / "pixels", dtype, self.shape, offset)
        self.bytes_to_copy = 0 if in_place else page.nbytes

    def copy(self) -> None:
        """Decode the file into the temporary copy, strip by strip or tile by tile."""
        if not self.bytes_to_copy:
            return
        self.pixels.reserve()
        _, height, width = self.shape
        for data, (channel, _, top, left, _), _ in self._page.segments(maxworkers=1):
            if data is not None:  # else it is empty: zeros
                part = data[0, : height - top, : width - left]
                window = Window(top, top + part.shape[0], left, left + part.shape[1])
                self.pixels.write(window, part.transpose(2, 0, 1), channel)

    def largest(self) -> int:
        """Of all values."""
        parts = -(-self.shape[1] // 1024), -(-self.shape[2] // 1024)
        return max(int(self.pixels.read(window).numpy().max()) for window in windows(self.shape, parts))


class _Decoded:
    """A file's pixels as the generator takes them."""

    def __init__(self, pixels: StoredPixels, translator: Translator, values: ValueRange | None):
        self._pixels, self._translator, self._values = pixels, translator, values
        self.shape: Shape = (translator.in_channels, *pixels.shape[1:])

    def read(self, window: Window) -> Tensor:
        return self._translator.scaled(self._pixels.read(window), self._values)


@contextmanager
def open_large_tiff(path: Path, max_pixels: int) -> Iterator[LargeTiff | None]:
    """The image of a TIFF file; None if it is small, has more than `max_pixels`, is damaged, or needs more than reading
    its values: transparency, a colour profile, turning, a palette or less usual kinds. `read_image` then reads or
    refuses it.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            page = stack.enter_context(open_tiff(file)).pages.first
            suits = page.imagewidth * page.imagelength > LARGE and _is_plain(page)
            refuse_large(page, max_pixels)
            refuse_unreadable(page, file)
        except Exception:  # damaged files make it raise nearly anything; `read_image` reports the reason
            suits, page = False, None
        if page is None or not suits:
            yield None
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="cyclegan_tiff_"))
            yield LargeTiff(page, path, Path(folder))


def _is_plain(page: "TiffPage") -> bool:
    name = page.dtype.name if page.dtype is not None else ""
    segment = page.tilewidth * page.tilelength if page.is_tiled else page.rowsperstrip * page.imagewidth
    return (
        int(page.photometric) in (BLACK_IS_ZERO, RGB)
        and name in VALUES
        and page.bitspersample == np.dtype(name).itemsize * 8
        and not any(page.extrasamples)  # 1 and 2 are transparency
        and page.tags.valueof(ORIENTATION, 1) == 1
        and COLOUR_PROFILE not in page.tags
        and (page.is_memmappable or segment <= MOST_OF_SEGMENT)
    )


def translate_large(translator: Translator, tiff: LargeTiff, target: Path) -> None:
    """Translate an image into the TIFF file `target`.

    Raises:
        UnreadableImageError: if it is damaged, or its channels or values do not fit.
        UsageError: if there is not enough room.
        OSError: if `target` cannot be written.
    """
    import tifffile

    written, channels = translator.values_out, translator.out_channels
    dtype = np.dtype(written.dtype if written else "uint8")
    shape: Shape = (channels, *tiff.shape[1:])
    decoded_shape: Shape = (translator.in_channels, *tiff.shape[1:])
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = tiff.bytes_to_copy + translator.tile_bytes(decoded_shape)
    refuse_full_disk({Path(tempfile.gettempdir()): temporary, target.parent: int(np.prod(shape)) * dtype.itemsize})
    image = _read(translator, tiff)
    with atomic(target, durable=False) as draft:
        layout = shape[1:] if channels == 1 else (*shape[1:], channels)
        mapped = tifffile.memmap(draft, shape=layout, dtype=dtype, **tiff_layout(channels))
        result = StoredPixels(draft, dtype, shape, mapped.offset)
        del mapped
        result.reserve()
        for window, made in translator.translate_windows(image):
            result.write(window, written.from_unit(made) if written else made.numpy())


def _read(translator: Translator, tiff: LargeTiff) -> ImageSource:
    """The decoded image."""
    try:
        tiff.copy()
        first = tiff.pixels.read(Window(0, 1, 0, 1))
        values = translator.range_of(first.dtype, 8 * first.element_size(), tiff.largest)
        translator.scaled(torch.zeros_like(first), values)  # refuses channels that do not fit
    except (UnreadableImageError, OSError):
        raise
    except Exception as error:  # of decoders, as in `read_image`
        raise UnreadableImageError(str(error) or type(error).__name__) from error
    return _Decoded(tiff.pixels, translator, values)
