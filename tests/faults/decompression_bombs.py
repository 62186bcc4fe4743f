"""Decompression bombs, and writers for PNG, TIFF and NPY files that Pillow and NumPy cannot write."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def deflated(megabytes: int) -> bytes:
    """Compressed zero bytes, without having all of them in memory."""
    packer, block = zlib.compressobj(9), bytes(1 << 20)
    return b"".join([packer.compress(block) for _ in range(megabytes)] + [packer.flush()])


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, packed: bytes, *extra: bytes, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG with compressed rows, preceded by `extra` chunks."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def tiff(tags: dict[int, tuple[int, list[int]]], pixels: bytes, order: str = "<") -> bytes:
    """A TIFF with one page whose pixels start at byte 8; tags are (type 3 short or 4 long, values)."""
    code = {3: "H", 4: "I"}
    directory_at = 8 + len(pixels) + len(pixels) % 2
    entries, beyond = b"", b""
    beyond_at = directory_at + 2 + 12 * len(tags) + 4
    for tag, (kind, values) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}{code[kind]}", *values)
        if len(packed) > 4:
            packed, beyond = struct.pack(f"{order}I", beyond_at + len(beyond)), beyond + packed
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    directory = struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", 0)
    magic = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, directory_at)
    return magic + pixels + b"\0" * (len(pixels) % 2) + directory + beyond


def tiff_of(pixels: np.ndarray, order: str = "<", orientation: int = 1) -> bytes:
    """H x W x C uint16 as an uncompressed TIFF."""
    height, width, channels = pixels.shape
    data = pixels.astype(f"{order}u2").tobytes()
    tags = {256: (4, [width]), 257: (4, [height]), 258: (3, [16] * channels), 259: (3, [1]), 273: (4, [8])}
    tags |= {262: (3, [2 if channels == 3 else 1]), 274: (3, [orientation]), 277: (3, [channels])}
    return tiff(tags | {278: (4, [height]), 279: (4, [len(data)])}, data, order)


def npy(shape: tuple[int, ...], version: int = 1, padding: int = 0, kind: str = "|u1") -> bytes:
    """An `.npy` file whose header claims `shape`, followed by 16 bytes."""
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}".encode() + b" " * padding + b"\n"
    return (
        b"\x93NUMPY"
        + bytes([version, 0])
        + struct.pack("<H" if version == 1 else "<I", len(header))
        + header
        + b"x" * 16
    )


def decompression_bombs() -> dict[str, bytes]:
    """Files of a few bytes to some megabytes that need hundreds of megabytes or more to decode."""
    row = zlib.compress(b"\0\0")
    text = [chunk(b"zTXt", b"Comment%d\0\0" % i + zlib.compress(bytes((1 << 20) - 16))) for i in range(63)]
    tile = {256: (4, [1]), 257: (4, [1]), 258: (3, [8]), 259: (3, [8]), 262: (3, [1]), 277: (3, [1])}
    packed = deflated(200)
    strip = {256: (4, [8]), 257: (4, [8]), 258: (3, [8]), 262: (3, [1]), 277: (3, [1]), 273: (4, [8]), 278: (4, [8])}
    jpeg = _saved(Image.new("L", (9000, 9000)), "JPEG")
    tile |= {322: (4, [14000]), 323: (4, [14000]), 324: (4, [8]), 325: (4, [len(packed)])}
    return {
        "64 Mpx PNG of 200 KB": png(8000, 8000, packed, colour=2),
        "400 Mpx PNG": png(20_000, 20_000, row, colour=2),
        "PNG with 200 MB of text": png(1, 1, row, chunk(b"zTXt", b"Comment\0\0" + packed)),
        "PNG with 63 texts of 1 MB": png(1, 1, row, *text),
        "PNG with 200 MB of colour profile": png(1, 1, row, chunk(b"iCCP", b"Profile\0\0" + packed)),
        "1-pixel TIFF with a 196 Mpx tile": tiff(tile, packed),
        "64-pixel TIFF with a strip of 200 MB": tiff(strip | {259: (3, [8]), 279: (4, [len(packed)])}, packed),
        "64-pixel TIFF with a strip of 81 Mpx JPEG": tiff(strip | {259: (3, [7]), 279: (4, [len(jpeg)])}, jpeg),
        "49 Mpx TIFF of 60,000 bands": tiff(
            strip | {256: (4, [7000]), 257: (4, [7000]), 259: (3, [8]), 277: (3, [60_000]), 279: (4, [9])}, bytes(9)
        ),
        "64 Mpx PNG of 16 bits": png(8000, 8000, row, depth=16, colour=2),
        "900 Mpx JPEG": _jpeg(30_000),
        "900 Mpx PPM": b"P6 30000 30000 255\n",
        "100 Mpx GIF": _gif(10_000),
        "100 Mpx WebP": _webp(10_000),
        "npy that claims 4.9 TB": npy((7000, 7000, 100_000)),
        "npy that claims 10,000 Mpx": npy((100_000, 100_000)),
        "npy with 100 MB of header": npy((4, 4), version=2, padding=100 << 20),
    }


def _jpeg(side: int) -> bytes:
    data = bytearray(_saved(Image.new("RGB", (8, 8)), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", side, side)
    return bytes(data)


def _gif(side: int) -> bytes:
    data = bytearray(_saved(Image.new("L", (8, 8)), "GIF"))
    data[6:10] = struct.pack("<HH", side, side)
    return bytes(data)


def _webp(side: int) -> bytes:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = bytearray(_saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    data[24:30] = struct.pack("<I", side - 1)[:3] * 2  # the canvas, after RIFF, WEBP and VP8X
    return bytes(data)


def _saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def huge_file(path: Path) -> Path:
    """A sparse PNG file of one gigabyte."""
    with path.open("wb") as file:
        file.write(png(8, 8, b""))
        file.truncate(1 << 30)
    return path
