"""Unpacking of the images in a column of Parquet files, as the Hugging Face Hub has them."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from cyclegan_dist.data.files import printable
from cyclegan_dist.data.reading import largest_file
from cyclegan_dist.data.unpacking import HEADER, Unpacked, allowance, refuse_growth
from cyclegan_dist.errors import UsageError

ROWS = 16  # images in memory at once


def unpack_parquet(
    files: Sequence[tuple[str, Path]], column: str, target: Path, max_pixels: int, *, by_row: bool
) -> Unpacked:
    """Unpack the images of a column: structs of `bytes` and `path`, or plain binary values. Rows without one are
    skipped.

    Args:
        files: the folder of the target that each one's images get, empty for none, and the file.
        column: its name; empty if there is only one with images.
        target: empty folder.
        max_pixels: of the largest image, which limits its bytes.
        by_row: name images by the number of their row, so that those of one row have the same name. By default by
            their `path`, if all have one of their own.

    Raises:
        UsageError: if a file is damaged, has no such column, or unpacks to too much.
        OSError: if `target` cannot be written.
    """
    found = Unpacked([])
    for folder, path in files:
        (target / folder).mkdir(parents=True, exist_ok=True)
        try:
            with pq.ParquetFile(path, pre_buffer=False) as file:
                chosen = _column(path, file.schema_arrow, column)
                names = None if by_row else _own_names(file, chosen)
                number, left = 0, allowance(path)
                for batch in file.iter_batches(ROWS, columns=[chosen]):
                    for value in batch.column(0):
                        name = f"{folder}/" * bool(folder) + (names[number] if names else f"{number:09d}")
                        number += 1
                        data = value["bytes"] if value.is_valid and pa.types.is_struct(value.type) else value
                        if not data.is_valid:
                            continue
                        found.names.append(name)
                        content = data.as_buffer()
                        left -= HEADER + content.size
                        refuse_growth(path, left)
                        if content.size > largest_file(max_pixels):
                            found.unreadable[name] = f"more than the {largest_file(max_pixels):,} bytes we read"
                        else:
                            (target / name).write_bytes(content)
        except pa.ArrowException as error:
            raise UsageError(f"{path} is damaged, or no Parquet file ({_line(error)}): get it again") from None
    found.names.sort()
    return found


def _column(path: Path, schema: pa.Schema, wanted: str) -> str:
    columns = [entry.name for entry in schema if _holds_bytes(entry.type)]
    if wanted in columns:
        return wanted
    if not columns:
        raise UsageError(f"{path} has no column of images: one of binary values, or of structs with `bytes`")
    if wanted or len(columns) > 1:
        problem = f"has no column of images {wanted}" if wanted else "has several columns of images"
        raise UsageError(f"{path} {problem}: choose one with --column, --column-a or --column-b: {', '.join(columns)}")
    return columns[0]


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_bytes(kind.field(index).type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _own_names(file: pq.ParquetFile, column: str) -> list[str] | None:
    """The last parts of the paths of all rows; None if some have none, or several the same."""
    kind = file.schema_arrow.field(column).type
    if not pa.types.is_struct(kind) or kind.get_field_index("path") < 0:
        return None
    paths = [(row or {}).get("path") for row in file.read([f"{column}.path"]).column(0).to_pylist()]
    names = [PurePosixPath(path).name for path in paths if isinstance(path, str)]
    safe = all(name and not name.startswith(".") and "\0" not in name and printable(name) == name for name in names)
    fits = all(len(name.encode()) < 255 for name in names) if safe else False
    return names if fits and len(names) == len(paths) == len(set(names)) else None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
