"""Positioned reads from shards, each verified against the manifest.

Reading by offset instead of streaming a tar allows any order, any world size and resumption at any step, and detects
truncated, swapped and extended shards.
"""

import hashlib
import os
import time
from typing import Any, NamedTuple

from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.errors import storage_errors
from cyclegan_dist.storage.urls import file_system_at

PAUSES_S = (0.5, 2.0, 5.0)  # before each retry
MAX_OPEN = 128  # files; systems often allow a process 1024
ADVICE = "restore the shard or prepare the data set again"


class DataError(RuntimeError):
    """The data cannot be used. The message names shard and sample."""


class BadSample(NamedTuple):
    """A sample that differs from the manifest, and how."""

    domain: str
    key: str
    shard: str
    reason: str


class BadSampleError(DataError):
    """One sample is damaged, and reading it again would not help."""

    def __init__(self, sample: BadSample):
        super().__init__(f"shard {sample.shard}, sample {sample.domain}/{sample.key}: {sample.reason}")
        self.sample = sample


class ShardReader:
    """Bytes of a domain's samples by index. Files stay open; each process that gets a copy opens its own."""

    def __init__(self, manifest: Manifest, domain: str):
        self.domain, self._root = domain, manifest.root
        self._elsewhere = {name: facts["at"] for name, facts in manifest.shards.items() if "at" in facts}
        self._rows = manifest.domains[domain]  # not as numpy arrays or lists, which would be one more copy
        self._bytes = {name: facts["bytes"] for name, facts in manifest.shards.items()}
        self._open: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def key(self, index: int) -> str:
        return self._of("key", index)

    def _of(self, column: str, index: int) -> Any:
        return self._rows[column][index].as_py()

    def _place(self, shard: str) -> str:
        return f"{self._elsewhere.get(shard, self._root)}/{shard}"

    def bad(self, index: int, reason: object) -> BadSampleError:
        """The error to raise if sample `index` cannot be used."""
        shard = self._place(self._of("shard", index))
        return BadSampleError(BadSample(self.domain, self.key(index), shard, str(reason)))

    def read(self, index: int) -> bytes:
        """The encoded image of sample `index`.

        Raises:
            BadSampleError: if the shard is gone, has another length, or its bytes have another hash.
            DataError: if the storage does not answer.
        """
        shard, offset, size = (self._of(column, index) for column in ("shard", "offset", "size"))
        try:
            data = self._read_with_retries(shard, offset, size)
            if not self._matches(index, data):
                self._close(shard)  # a damaged shard may have been replaced since
                data = self._read_with_retries(shard, offset, size)
        except FileNotFoundError:
            raise self.bad(index, f"the shard is gone; {ADVICE}") from None
        except _WrongLengthError as error:
            raise self.bad(index, f"{error}; {ADVICE}") from None
        except OSError as error:
            raise DataError(f"shard {self._place(shard)} cannot be read ({error}); is its storage mounted?") from error
        if not self._matches(index, data):
            raise self.bad(index, f"its bytes differ from the manifest; {ADVICE}")
        return data

    def _matches(self, index: int, data: bytes) -> bool:
        return hashlib.sha256(data).digest() == self._of("sha256", index)

    def _read_with_retries(self, shard: str, offset: int, size: int) -> bytes:
        """Retries, because network storage fails occasionally; not for a missing file."""
        for pause_s in PAUSES_S:
            try:
                return self._read(shard, offset, size)
            except (FileNotFoundError, _WrongLengthError):
                raise
            except OSError:
                self._close(shard)
                time.sleep(pause_s)
        return self._read(shard, offset, size)

    def _read(self, shard: str, offset: int, size: int) -> bytes:
        if shard not in self._open:
            if len(self._open) == MAX_OPEN:
                self._close(next(iter(self._open)))
            self._open[shard] = self._opened(shard)
        source = self._open[shard]
        if isinstance(source, int):
            return os.pread(source, size, offset)
        file_system, path = source
        with storage_errors():
            return file_system.cat_file(path, start=offset, end=offset + size)

    def _opened(self, shard: str) -> Any:
        """A file descriptor, or a file system with a path in it; its length is the recorded one."""
        file_system, path = file_system_at(self._place(shard))
        source = os.open(path, os.O_RDONLY) if "file" in file_system.protocol else (file_system, path)
        with storage_errors():
            found = os.fstat(source).st_size if isinstance(source, int) else file_system.size(path)
        recorded = self._bytes[shard]
        if None not in (found, recorded) and found != recorded:
            if isinstance(source, int):
                os.close(source)
            raise _WrongLengthError(f"the shard has {found} bytes, the manifest records {recorded}")
        return source

    def _close(self, shard: str) -> None:
        source = self._open.pop(shard, None)
        if isinstance(source, int):
            os.close(source)


class _WrongLengthError(Exception):
    """A shard was truncated or extended."""
