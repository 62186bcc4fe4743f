"""A draft of a data set at a URL: shards are uploaded to where they stay, and the manifest last.

An object store has no rename. Where another data set is replaced, shards are uploaded to a folder of their own, and
copied by the store when all are there.
"""

import contextlib
import io
import json
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from cyclegan_dist.data.config import CHECKSUM, MANIFEST, VALIDATION
from cyclegan_dist.data.folder_draft import KEY, announce, place_above, refuse_absent, shard_name
from cyclegan_dist.data.location import STATE, is_url, scratch
from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.data.plan import DOMAINS
from cyclegan_dist.data.shard_record import ShardRecord
from cyclegan_dist.errors import UsageError, storage_errors
from cyclegan_dist.storage.urls import file_system_at

BUCKETS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oci", "oss"}  # protocols without folders


class UrlDraft:
    """What is at the URL until its manifest is, with records of the complete shards in a folder `.unfinished`."""

    def __init__(self, out: str, key: str):
        self._out, self._key = out.rstrip("/"), key
        try:
            self._files, self._root = file_system_at(self._out)
        except (ValueError, ImportError) as error:
            raise UsageError(f"{out}: {error}") from error
        self._state = f"{self._root}/{STATE}"
        self._owner = secrets.token_hex(8)
        self._target = self._root  # of the shards
        self.folder = scratch(out, ".unfinished")
        """Local folder in which tars and manifests are written before they are uploaded."""
        self.kept = False

    @storage_errors()
    def begin(self, *, overwrite: bool, report: Callable[[str], object]) -> None:
        """Go on with what was interrupted if it has the same key, else remove it.

        Raises:
            UsageError: if there is another data set, and `overwrite` is not given.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        self._files.use_listings_cache = False
        self._files.invalidate_cache()
        before = self._read_state()
        is_same = bool(self._key) and before.get("key") == self._key
        is_there = self._files.exists(f"{self._root}/{MANIFEST}")
        is_its_own = is_same and before.get("staged") is False  # it was ended after its manifest was uploaded
        if is_there and not overwrite and not is_its_own:
            raise UsageError(f"{self._out} holds another data set: choose another place, or pass --overwrite")
        shards = len([path for path in self._found(self._state) if path.endswith(".parquet")])
        announce(report, self._out, shards, is_same=is_same)
        if not is_same:
            self._remove_shards(before)
        staged = before.get("staged") if is_same else is_there
        self._target = f"{self._state}/dataset" if staged else self._root
        self.kept = is_same and bool(shards)
        self.folder.mkdir(parents=True)
        self._put(KEY, json.dumps({"key": self._key, "owner": self._owner, "staged": bool(staged)}).encode())

    def _put(self, name: str, content: bytes) -> None:
        path = f"{self._state}/{name}"
        self._make_folder_of(path)
        self._files.pipe_file(path, content)

    def _make_folder_of(self, path: str) -> None:
        protocol = self._files.protocol
        if not BUCKETS & {protocol, *protocol}:  # there it would make a bucket of any name
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)

    def _read_state(self) -> dict[str, Any]:
        try:
            found = json.loads(self._files.cat_file(f"{self._state}/{KEY}"))
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _found(self, folder: str) -> list[str]:
        try:
            return self._files.find(folder)
        except FileNotFoundError:
            return []

    def _remove_shards(self, state: dict[str, Any]) -> None:
        """Remove what an interrupted preparation has left, whose state is given."""
        for part in ("", VALIDATION) if state else ():
            if not self._files.exists(_join(self._root, part, MANIFEST)):
                self._remove_files(*(_join(self._root, part, domain) for domain in DOMAINS))
        self._remove_files(self._state)

    def _remove_files(self, *folders: str) -> None:
        for folder in folders:
            for path in self._found(folder):
                self._files.rm_file(path)
            with contextlib.suppress(OSError):  # there are no folders on object stores
                self._files.rm(folder, recursive=True)

    @storage_errors()
    def adopt(self, part: str, parent: Manifest) -> dict[str, dict[str, Any]]:
        """Take over the shards of the version before, by a reference to their place if that is a URL too; those of a
        folder, which others cannot read, are uploaded. Returns their facts.
        """
        facts: dict[str, dict[str, Any]] = {}
        for name, recorded in parent.shards.items():
            place = parent.place(name)
            facts[name] = {key: value for key, value in recorded.items() if key != "at"}
            if is_url(place):
                facts[name]["at"] = place_above(place, name)
            else:
                refuse_absent(Path(place), recorded["bytes"])
                self._upload(Path(place), _join(self._target, part, name))
        return facts

    def complete(self, part: str, domain: str, first: int) -> Iterator[ShardRecord]:
        """The records of the shards that are complete, from number `first` on."""
        for number in range(first, 1 << 31):
            record = self._complete(part, shard_name(domain, number))
            if record is None:
                return
            yield record

    @storage_errors()
    def _complete(self, part: str, shard: str) -> ShardRecord | None:
        try:
            record = ShardRecord.read(io.BytesIO(self._files.cat_file(self._record(part, shard))))
            is_whole = self._files.size(_join(self._target, part, shard)) == record.facts["bytes"]
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None
        return record if is_whole else None

    def _record(self, part: str, shard: str) -> str:
        return _join(self._state, "records", part, f"{shard}.parquet")

    def tar(self, part: str, shard: str) -> Path:
        """Where to write a shard, of which nothing is there."""
        path = self.folder / part / shard
        path.unlink(missing_ok=True)
        return path

    @storage_errors()
    def keep(self, part: str, record: ShardRecord) -> None:
        """Upload a shard that is written, and record it.

        Raises:
            UsageError: if another process has begun to prepare the same URL.
        """
        if self._read_state().get("owner") != self._owner:
            self.kept = False
            raise UsageError(f"another process has begun to prepare {self._out}, so this one ends: give another OUT")
        path = self.folder / part / record.shard
        self._upload(path, _join(self._target, part, record.shard))
        path.unlink()
        local = path.with_suffix(".parquet")
        record.write(local)
        self._upload(local, self._record(part, record.shard))
        local.unlink()
        self.kept = bool(self._key)

    def _upload(self, path: Path, target: str) -> None:
        self._make_folder_of(target)
        self._files.put_file(str(path), target)

    @storage_errors()
    def commit(self, parts: Iterable[str], *, overwrite: bool) -> None:
        """Upload the manifests, which makes it a data set; where another one is replaced, after its shards."""
        parts = list(parts)
        if self._target != self._root:
            for name in (MANIFEST, CHECKSUM):  # without its manifest the old one is not a data set
                with contextlib.suppress(FileNotFoundError):
                    self._files.rm_file(f"{self._root}/{name}")
            for part in parts:
                for domain in DOMAINS:
                    self._remove_files(_join(self._root, part, domain))
                    for path in self._found(_join(self._target, part, domain)):
                        target = _join(self._root, path.removeprefix(f"{self._target}/"))
                        self._make_folder_of(target)
                        self._files.cp_file(path, target)
        for part in sorted(parts, reverse=True):  # that of the whole, which has no name, comes last
            for name in (CHECKSUM, MANIFEST):
                self._upload(self.folder / part / name, _join(self._root, part, name))
        self._remove_files(self._state)
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove(self) -> None:
        """Remove what is there of it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError), storage_errors():
            state = self._read_state()
            if state.get("owner") == self._owner:
                self._remove_shards(state)


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)
