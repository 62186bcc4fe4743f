"""Image files written byte by byte, of kinds that the usual libraries do not write."""

import struct
import zlib

import numpy as np


def png_chunks(pixels: np.ndarray, bits: int, gamma: int = 0) -> bytes:
    """A PNG of H x W grey values or H x W x 3 colours with so many bits each; `gamma` is that of its gAMA chunk."""
    height, width = pixels.shape[:2]
    color = pixels.ndim == 3
    if bits < 8:
        pad = -width % (8 // bits)
        values = np.pad(pixels, ((0, 0), (0, pad)))
        planes = [(values >> (bits - 1 - i)) & 1 for i in range(bits)]
        rows = np.packbits(np.stack(planes, 2).reshape(height, -1), axis=1)
    else:
        rows = pixels.reshape(height, -1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, 2 if color else 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"gAMA", struct.pack(">I", gamma)), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, body) for name, body in chunks if name != b"gAMA" or gamma)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def pgm_with_maximum(pixels: np.ndarray, maximum: int) -> bytes:
    """A binary PGM of H x W values up to `maximum`, which is white."""
    height, width = pixels.shape
    return f"P5 {width} {height} {maximum}\n".encode() + pixels.astype(">u2" if maximum > 255 else "u1").tobytes()


def bmp_palette(indices: np.ndarray, palette: np.ndarray) -> bytes:
    """A BMP of H x W indices into 256 colours."""
    height, width = indices.shape
    rows = b"".join(row.tobytes().ljust(-(-width // 4) * 4, b"\0") for row in indices[::-1])
    colors = b"".join(bytes([b, g, r, 0]) for r, g, b in palette.tolist())
    offset = 14 + 40 + len(colors)
    head = b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset)
    return head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 0, len(rows), 2835, 2835, 256, 0) + colors + rows
