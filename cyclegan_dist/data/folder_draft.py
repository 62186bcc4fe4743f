"""A draft of a data set in a hidden folder next to OUT, which is renamed to OUT when its manifest is written."""

import contextlib
import errno
import filecmp
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from cyclegan_dist.data.config import CHECKSUM, MANIFEST
from cyclegan_dist.data.location import REFERRED, STATE, is_url, scratch
from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.data.shard_record import ShardRecord
from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.files import sync, write_atomic

KEY = "key.json"  # identifies the images, options and versions that the records of shards are of
# From a link to another file system, one without links, one of another user's file, and one too many.
NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS)


def announce(report: Callable[[str], object], out: object, shards: int, *, is_same: bool) -> None:
    """Say what becomes of the shards of an interrupted preparation."""
    if shards and is_same:
        report(f"{out}: going on after {shards:,} shards of a preparation that was interrupted")
    elif shards:
        report(f"{out}: begun again, because the interrupted preparation was of other images, options or versions")


def place_above(place: str, shard: str) -> str:
    """The absolute path or URL that the path of a shard is relative to."""
    above = place.removesuffix(f"/{shard}")
    return above if is_url(above) else os.path.abspath(above)


def refuse_absent(shard: Path, size: int) -> None:
    """Check that a shard of the version before is there.

    Raises:
        UsageError: if it is not, or has another size.
    """
    if not shard.is_file() or shard.stat().st_size != size:
        raise UsageError(f"--append: {shard} is gone or has another size: restore it")


def shard_name(domain: str, number: int) -> str:
    """The path of a shard relative to its manifest."""
    return f"{domain}/{domain}-{number:06d}.tar"


class FolderDraft:
    """A draft in the hidden folder `.OUT.unfinished`, next to OUT."""

    def __init__(self, out: Path, key: str):
        self._out, self._key = out, key
        self._root = scratch(out, ".unfinished")
        self._records = self._root / "records"
        self.folder = self._root / "dataset"
        """Local folder in which tars and manifests are written."""
        self.kept = False

    def begin(self, *, overwrite: bool, report: Callable[[str], object]) -> None:
        """Go on with what was interrupted if it has the same key, else remove it."""
        before = ""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            before = json.loads((self._root / KEY).read_text()).get("key", "")
        shards = len(list(self._records.rglob("*.parquet")))
        is_same = bool(before) and before == self._key
        announce(report, self._out, shards, is_same=is_same)
        if not is_same:
            self.remove()
        self.kept = is_same and bool(shards)
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._key:
            write_atomic(self._root / KEY, json.dumps({"key": self._key}))

    def adopt(self, part: str, parent: Manifest) -> dict[str, dict[str, Any]]:
        """Take over the shards of the version before: as hard links, which cost no room and stay whole if that version
        is removed, or where that cannot be by a reference to their place. Returns their facts.

        Raises:
            UsageError: if one is not there.
        """
        facts: dict[str, dict[str, Any]] = {}
        for name, recorded in parent.shards.items():
            place, own = parent.place(name), self.folder / part / name
            facts[name] = {key: value for key, value in recorded.items() if key != "at"}
            if not is_url(place):
                refuse_absent(Path(place), recorded["bytes"])
            if is_url(place) or not self._link(Path(place), own):
                facts[name]["at"] = place_above(place, name)
        for at in {found["at"] for found in facts.values() if "at" in found and not is_url(found["at"])}:
            self._mark_referred(Path(at, REFERRED))
        return facts

    def _mark_referred(self, path: Path) -> None:
        """Say in a data set of which shards are needed there that it is not to be removed, as by `prune`."""
        known, own = path.read_text().splitlines() if path.exists() else [], os.path.abspath(self._out)
        if own not in known:
            with contextlib.suppress(PermissionError):  # then it cannot be removed either
                write_atomic(path, "".join(f"{line}\n" for line in (*known, own)))

    @staticmethod
    def _link(source: Path, target: Path) -> bool:
        """Link a shard, if the file system can."""
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(source.resolve(), target)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            return False
        return True

    def complete(self, part: str, domain: str, first: int) -> Iterator[ShardRecord]:
        """The records of the shards that are complete, from number `first` on."""
        for number in range(first, 1 << 31):
            shard = shard_name(domain, number)
            try:
                record = ShardRecord.read(self._record(part, shard))
                if (self.folder / part / shard).stat().st_size != record.facts["bytes"]:
                    return
            except (OSError, ValueError, TypeError, KeyError):
                return
            yield record

    def _record(self, part: str, shard: str) -> Path:
        return self._records / part / f"{shard}.parquet"

    def tar(self, part: str, shard: str) -> Path:
        """Where to write a shard, of which nothing is there."""
        path = self.folder / part / shard
        self._record(part, shard).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        return path

    def keep(self, part: str, record: ShardRecord) -> None:
        """Record that a shard is written."""
        if self._key:
            sync(self.folder / part / record.shard)
            record.write(self._record(part, record.shard))
            self.kept = True

    def commit(self, parts: Iterable[str], *, overwrite: bool) -> None:
        """Put the data set in its place, with those in folders of it.

        Raises:
            UsageError: if another one is there, and `overwrite` is not given.
        """
        out, draft = self._out, self.folder
        known = [path for part in parts if (out / (path := Path(part, MANIFEST))).exists()]
        if known and not overwrite and not all(filecmp.cmp(out / path, draft / path, shallow=False) for path in known):
            raise UsageError(f"{out} holds another data set: choose another folder, or pass --overwrite")
        # An identical data set is replaced too, because its shards may have been damaged.
        for path in [*sorted(draft.rglob("*.tar")), *draft.rglob(CHECKSUM), *draft.rglob(MANIFEST)]:
            sync(path)
        if not (out / MANIFEST).exists() and not (out / STATE).exists():
            os.rename(draft, out)  # an empty folder of that name is replaced
        else:
            (out / STATE).touch()  # so that the same command goes on if this is interrupted
            (out / MANIFEST).unlink(missing_ok=True)  # without its manifest the old folder is not a data set
            for path in sorted(draft.iterdir(), key=lambda path: path.name == MANIFEST):  # which comes last
                if (old := out / path.name).is_dir():
                    shutil.rmtree(old)
                os.rename(path, old)
            (out / STATE).unlink()
        self.remove()

    def remove(self) -> None:
        """Remove what is there of it."""
        shutil.rmtree(self._root, ignore_errors=True)
