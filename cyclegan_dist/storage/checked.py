"""Small state as JSON objects with a checksum: a file that holds one, or a file to which lines are appended.

Objects without a checksum are accepted: older versions wrote them.
"""

import contextlib
import errno
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from cyclegan_dist.storage.files import write_atomic

_SUM = b', "crc32": "'  # json.dumps escapes quotes in strings, so no value contains this
_END = 10  # bytes after it: eight digits, a quote and a brace
_FEW = 4  # bits by which a damaged name may differ; a line of an older version differs by more


class DamagedError(ValueError):
    """A file or a line is not what was written."""


def dump_checked(fields: Mapping[str, Any]) -> bytes:
    """One line: a JSON object with its checksum as the last field.

    Raises:
        ValueError: if there are no fields.
    """
    if not fields:
        raise ValueError("an object without fields has no checksum")
    body = json.dumps(fields).encode()
    return body[:-1] + _SUM + f'{zlib.crc32(body):08x}"}}\n'.encode()


def parse_checked(line: bytes) -> dict[str, Any]:
    """The fields of an object that `dump_checked` wrote, or of one without a checksum.

    Raises:
        DamagedError: if it is not JSON, not an object, or differs from what was written.
    """
    head, mark, end = line.rstrip(b"\n").rpartition(_SUM)
    name = line.rstrip(b"\n")[-_END - len(_SUM) : -_END]
    if not mark and len(name) == len(_SUM) and _bits_that_differ(name, _SUM) <= _FEW:
        raise DamagedError("the name of its checksum is damaged")
    body = head + b"}" if mark else line
    if mark and end != f'{zlib.crc32(body):08x}"}}'.encode():
        raise DamagedError("its checksum does not fit")
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"it is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise DamagedError("it is not a JSON object")
    return fields


def _bits_that_differ(one: bytes, other: bytes) -> int:
    return sum((x ^ y).bit_count() for x, y in zip(one, other, strict=True))


def has_checksum(line: bytes) -> bool:
    """Whether a line carries a checksum, which `parse_checked` compares."""
    return _SUM in line


def write_checked(path: Path, fields: Mapping[str, Any]) -> None:
    """Replace a file by one object, atomically.

    Raises:
        OSError: if it cannot be written; the old file stays.
    """
    write_atomic(path, dump_checked(fields))


def read_checked(path: Path) -> dict[str, Any]:
    """The object in a file.

    Raises:
        OSError: if it cannot be read.
        DamagedError: as `parse_checked`.
    """
    return parse_checked(path.read_bytes())


def open_lines(path: Path) -> FileIO:
    """A file for `append_checked`, created if it does not exist.

    Raises:
        OSError: if it cannot be opened.
    """
    return FileIO(path, "a+")


def append_checked(file: FileIO, fields: Mapping[str, Any]) -> None:
    """Append one line, in one write, so that it does not interleave with those of other processes.

    Raises:
        OSError: if it cannot be written whole; a part of it is removed, or else becomes a line of its own, which
            readers skip.
    """
    size, line = os.fstat(file.fileno()).st_size, dump_checked(fields)
    if size and os.pread(file.fileno(), 1, size - 1) != b"\n":  # part of a line, of a process that was killed
        line = b"\n" + line
    written = file.write(line)
    if written != len(line):
        if os.fstat(file.fileno()).st_size == size + written:  # else another process has written after it
            with contextlib.suppress(OSError):
                file.truncate(size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def whole_lines(path: Path, offset: int = 0) -> Iterator[tuple[bytes, int]]:
    """The complete lines from byte `offset` on, and the offset after each.

    Raises:
        OSError: if the file cannot be read.
    """
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield line, offset
