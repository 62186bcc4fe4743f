"""Positioned reads out of shards, each compared with what the manifest promises.

Reading by offset instead of streaming a tar is what makes any order, any world size and any place of resumption
possible, and a cut, swapped or grown shard impossible to overlook.
"""

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import fsspec

from cyclegan_dist.data.manifest import Manifest

PAUSES_S = (0.5, 2.0, 5.0)  # before reading again
MAX_OPEN = 128  # files; systems often allow a process 1024


class DataError(RuntimeError):
    """A shard is not what the manifest says. The message names shard and sample."""


class ShardReader:
    """Bytes of a domain's samples by index. Files stay open; each process that gets a copy opens its own."""

    def __init__(self, manifest: Manifest, domain: str):
        rows = manifest.domains[domain]
        self._shards = [f"{manifest.root}/{shard}" for shard in rows["shard"].combine_chunks().dictionary.to_pylist()]
        self._shard = rows["shard"].combine_chunks().indices.to_numpy()
        self._offset, self._size = rows["offset"].to_numpy(), rows["size"].to_numpy()
        self._key, self._sha256 = rows["key"], rows["sha256"]
        self._open: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._size)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def key(self, index: int) -> str:
        return self._key[index].as_py()

    def read(self, index: int) -> bytes:
        """The encoded image of sample `index`.

        Raises:
            DataError: if the shard is gone or its bytes are not the promised ones.
        """
        number = int(self._shard[index])
        where = f"shard {self._shards[number]}, sample {self.key(index)}"
        advice = "restore the shard or prepare the data set again"
        try:
            data = self._read_patiently(number, int(self._offset[index]), int(self._size[index]))
        except OSError as error:
            raise DataError(f"{where}: cannot be read ({error}); {advice}") from error
        if hashlib.sha256(data).digest() != self._sha256[index].as_py():
            raise DataError(f"{where}: its bytes are not what the manifest promises; {advice}")
        return data

    def _read_patiently(self, number: int, offset: int, size: int) -> bytes:
        """Storage over a network fails now and then; a file that is not there will not come."""
        for pause_s in PAUSES_S:
            try:
                return self._read(number, offset, size)
            except FileNotFoundError:
                raise
            except OSError:
                time.sleep(pause_s)
        return self._read(number, offset, size)

    def _read(self, number: int, offset: int, size: int) -> bytes:
        url = self._shards[number]
        if number not in self._open:
            if len(self._open) == MAX_OPEN:
                oldest = self._open.pop(next(iter(self._open)))
                if isinstance(oldest, int):
                    os.close(oldest)
            file_system, path = fsspec.core.url_to_fs(url)
            is_local = "file" in file_system.protocol
            self._open[number] = os.open(Path(path), os.O_RDONLY) if is_local else (file_system, path)
        source = self._open[number]
        if isinstance(source, int):
            return os.pread(source, size, offset)
        file_system, path = source
        return file_system.cat_file(path, start=offset, end=offset + size)
