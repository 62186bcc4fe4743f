"""Drills C3 and C4: decompression bombs, and images of every kind."""

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from cyclegan_dist.data.images import UnreadableImageError, decode, read_image
from tests.faults.decompression_bombs import decompression_bombs, huge_file, tiff_of
from tests.faults.matrix import Measured, Stage, row

ATTEMPT = """
import json, os, resource, sys
from pathlib import Path
from PIL import Image
from cyclegan_dist.data.images import UnreadableImageError, decode
Image.init()
found = {}
for path in map(Path, sys.argv[2:]):
    source = path.read_bytes() if sys.argv[1] == "bytes" else path
    ours, theirs = os.pipe()
    if os.fork() == 0:  # a child starts with its own peak memory
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            refused = decode(source, 3) is None
        except UnreadableImageError:
            refused = True
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        os.write(theirs, json.dumps([refused, (after - before) / 1024]).encode())
        os._exit(0)
    os.wait()
    found[path.name] = json.loads(os.read(ours, 1000))
print(json.dumps(found))
"""


@row("C3", "decompression bombs", "refused; peak memory grows by less than 50 MB", slow=True)
def bombs_are_refused(stage: Stage) -> Measured:
    for number, data in enumerate(decompression_bombs().values()):
        (stage.folder / f"{number}.png").write_bytes(data)
    small = sorted(stage.folder.iterdir())
    tries = {"path": [*small, huge_file(stage.folder / "huge.png")], "bytes": small[:: stage.times(3, 1)]}
    results = [result for how, files in tries.items() for result in _attempt(how, files)]
    refused, peak = sum(refused for refused, _ in results), max(growth for _, growth in results)
    kinds = f"{len(small) + 1} kinds of bombs, as files and as samples"
    return Measured(
        f"{refused} of {len(results)} refused ({kinds}), peak memory +{peak:.0f} MB",
        refused == len(results) and peak < 50,
    )


def _attempt(how: str, files: list[Path]) -> list[tuple[bool, float]]:
    """Whether each file was refused, and by how many MB memory grew."""
    done = subprocess.run([sys.executable, "-c", ATTEMPT, how, *map(str, files)], capture_output=True, check=True)
    return list(json.loads(done.stdout).values())


def _oriented(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels in their EXIF orientation: rows and columns mirrored, then swapped."""
    rows, columns = (-1 if orientation in which else 1 for which in ((3, 4, 7, 8), (2, 3, 6, 7)))
    if orientation < 5:
        return pixels[::rows, ::columns]
    rows, columns = (-1 if orientation in which else 1 for which in ((6, 7), (7, 8)))
    return pixels[::rows, ::columns].swapaxes(0, 1)


def _saved(image: Image.Image, format: str, orientation: int, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, format, exif=exif, **options)
    return buffer.getvalue()


Kind = Callable[[np.random.Generator, tuple[int, int], int], tuple[bytes, np.ndarray]]


def _opaque(channels: int, format: str) -> Kind:
    def make(rng: np.random.Generator, size: tuple[int, int], orientation: int) -> tuple[bytes, np.ndarray]:
        pixels = rng.integers(0, 256, (*size, channels), dtype=np.uint8)
        return _saved(Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels), format, orientation), pixels

    return make


def _transparent(channels: int, format: str) -> Kind:
    def make(rng: np.random.Generator, size: tuple[int, int], orientation: int) -> tuple[bytes, np.ndarray]:
        pixels = rng.integers(0, 256, (*size, channels), dtype=np.uint8)
        opaque = pixels[..., -1:] / 255
        return _saved(Image.fromarray(pixels), format, orientation), pixels[..., :-1] * opaque + 255 * (1 - opaque)

    return make


def _palette(rng: np.random.Generator, size: tuple[int, int], orientation: int) -> tuple[bytes, np.ndarray]:
    colours, indices = rng.integers(0, 256, (256, 3), dtype=np.uint8), rng.integers(0, 256, size, dtype=np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(colours.tobytes())
    return _saved(image, "PNG", orientation), colours[indices]


def _bilevel(rng: np.random.Generator, size: tuple[int, int], orientation: int) -> tuple[bytes, np.ndarray]:
    pixels = rng.integers(0, 2, (*size, 1), dtype=np.uint8) * 255
    return _saved(Image.fromarray(pixels.squeeze(2)).convert("1"), "PNG", orientation), pixels


def _cmyk(rng: np.random.Generator, size: tuple[int, int], orientation: int) -> tuple[bytes, np.ndarray]:
    inks = rng.integers(0, 256, (*size, 4), dtype=np.uint8)
    light = 255 - inks.astype(float)
    return _saved(Image.fromarray(inks, "CMYK"), "TIFF", orientation), light[..., :3] * light[..., 3:] / 255


def _deep_png(rng: np.random.Generator, size: tuple[int, int], orientation: int) -> tuple[bytes, np.ndarray]:
    pixels = rng.integers(0, 65536, (*size, 1), dtype=np.uint16)
    return _saved(Image.fromarray(pixels.squeeze(2)), "PNG", orientation), pixels


def _deep_tiff(channels: int, order: str) -> Kind:
    def make(rng: np.random.Generator, size: tuple[int, int], orientation: int) -> tuple[bytes, np.ndarray]:
        pixels = rng.integers(0, 65536, (*size, channels), dtype=np.uint16)
        return tiff_of(pixels, order, orientation), pixels

    return make


KINDS: dict[str, Kind] = {
    "gray PNG": _opaque(1, "PNG"),
    "RGB PNG": _opaque(3, "PNG"),
    "RGBA PNG": _transparent(4, "PNG"),
    "gray and alpha PNG": _transparent(2, "PNG"),
    "palette PNG": _palette,
    "bilevel PNG": _bilevel,
    "CMYK TIFF": _cmyk,
    "16-bit PNG": _deep_png,
    **{f"16-bit {channels}-channel {order} TIFF": _deep_tiff(channels, order) for channels in (1, 3) for order in "<>"},
}
SIZES = ((1, 1), (3, 2), (1, 7), (5, 4), (16, 33), (7, 1))


@row(
    "C4",
    "grey, RGBA, palette, CMYK, 16-bit, float, EXIF-rotated and animated images, 1x1 and odd sizes",
    "one decoder, correct to 1/255; values of more than 8 bits stay what they are, and are refused where 8 are expected; "
    "the first frame of an animation is taken, with a notice",
)
def odd_kinds_of_images(stage: Stage) -> Measured:
    rng = np.random.default_rng(stage.seed)
    worst, count, orientations = 0.0, 0, set()
    for make in KINDS.values():
        for orientation in range(1, 9):
            right = True
            for size in SIZES[: stage.times(3, len(SIZES))]:
                data, stored = make(rng, size, orientation)
                found, wanted = read_image(data).pixels.permute(1, 2, 0).numpy(), _oriented(stored, orientation)
                error = np.abs(found - wanted.astype(float)).max() if found.shape == wanted.shape else np.inf
                error = np.inf if error and wanted.dtype == np.uint16 else error  # these stay what they are
                worst, count, right = max(worst, float(error)), count + 1, right and error <= 1
            orientations |= {orientation} if right else set()
    refused, floats = _floats()
    noted, animations = _animations()
    return Measured(
        f"{len(KINDS)} kinds x 8 orientations x {count // len(KINDS) // 8} sizes: greatest error {worst:.2f}/255, "
        f"orientation {len(orientations)}/8; other than 8 bits refused {refused}/{floats}; "
        f"first frame taken and noted {noted}/{animations}",
        worst <= 1 and len(orientations) == 8 and refused == floats and noted == animations,
    )


def _floats() -> tuple[int, int]:
    """The number of refused images, and of all."""
    buffers = []
    for image, format in (
        (Image.new("F", (4, 3), 0.5), "TIFF"),
        (Image.new("F", (4, 3), 0.5), "PPM"),
        (Image.new("I", (4, 3), 70_000), "TIFF"),
        (Image.new("I", (4, 3), -1), "TIFF"),
    ):
        buffers.append(io.BytesIO())
        image.save(buffers[-1], format)
    refused = 0
    for buffer in buffers:
        with contextlib.suppress(UnreadableImageError):
            decode(buffer.getvalue(), 1)
            refused -= 1
        refused += 1
    return refused, len(buffers)


def _animations() -> tuple[int, int]:
    """The number of animations whose first frame was taken with a notice, and of all."""
    frames = [Image.new("RGB", (5, 3), (40 * i, 255 - 40 * i, 7)) for i in range(4)]
    right = 0
    for format, options in (("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        buffer = io.BytesIO()
        frames[0].save(buffer, format, save_all=True, append_images=frames[1:], **options)
        picture = read_image(buffer.getvalue())
        first = np.array_equal(picture.pixels.permute(1, 2, 0), np.asarray(frames[0]))
        right += first and picture.note == f"first of {'several' if format == 'TIFF' else 4} frames taken"
    return right, 4
