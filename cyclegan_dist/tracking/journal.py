"""The journal of a run, `metrics.jsonl`: one JSON object per line, written by rank 0.

Training writes here only. The terminal and MLflow follow the file in other threads and processes, so neither can slow
or stop a run, and both can catch up later. Records have a `kind`:

| kind | fields |
|---|---|
| run | config (dotted keys), data (name, digest, source, samples of each domain), nimg, total (images), attempt |
| | segments (nimg at its start and changed keys of each extension), initialised_from (source, sha256, parts), |
| | and world_size, hosts (each rank's address), manifest (its digest), commit (of the source, where it is in git) |
| metrics | step, nimg, values (by name) |
| evaluation | step, nimg, values (by name) of the snapshot of that step |
| image | step, key, path (PNG, relative to the run's folder) |
| snapshot | step, path (folder, relative), final (whether it is the run's last) |
| message | text, for the user |
| failure | text, ranks (that died); written by the launcher's side |
| end | status: FINISHED, KILLED or FAILED |

Each carries `time` in milliseconds since 1970.
"""

import contextlib
import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cyclegan_dist.storage.layout import JOURNAL as JOURNAL
from cyclegan_dist.storage.layout import RunFolder


class Journal:
    """Appends records. A context manager. Skips records of steps that a resumed run repeats.

    Attributes:
        ended: whether the run has ended, and no new attempt has started to train since.
    """

    def __init__(self, run_dir: Path):
        run_dir.mkdir(parents=True, exist_ok=True)
        self._path = RunFolder(run_dir).journal
        self._recorded = {"metrics": -1, "image": -1, "evaluation": -1}  # last step of each
        self._end, self._failed, self.ended = 0, False, False
        if self._path.exists():
            for record, end in read_records(self._path, 0):
                self._end = end
                self.ended = _ends(record["kind"], self.ended)
                if record["kind"] in self._recorded:
                    self._recorded[record["kind"]] = record["step"]
        self._file = self._path.open("ab", buffering=0)
        self._file.truncate(self._end)  # remove a partial line of a killed process

    def write(self, kind: str, **fields: Any) -> None:
        """Append one record."""
        if fields.get("step", 0) <= self._recorded.get(kind, -1):
            return
        line = _line(kind, fields)
        self.ended = _ends(kind, self.ended)
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:  # a full disk must not stop a training
            with contextlib.suppress(OSError):  # remove a partial line, so that the next record starts a new one
                self._file.truncate(self._end)
            if not self._failed:
                print(f"{self._path} cannot be written: {error}; free some space, records are lost", file=sys.stderr)
            self._failed = True
        else:
            self._end, self._failed = self._end + len(line), False

    def message(self, text: str) -> None:
        """Append a message for the user."""
        self.write("message", text=text)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()


def source_commit() -> str:
    """The git commit of this program's source, or nothing where it is not in a repository."""
    root = Path(__file__).parents[2]
    try:
        command = ["git", "-C", str(root), "rev-parse", "--show-toplevel", "HEAD"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired):
        return ""
    # An installed package may lie within someone else's repository.
    return found[1] if len(found) == 2 and Path(found[0]).resolve() == root.resolve() else ""


def append(run_dir: Path, kind: str, **fields: Any) -> None:
    """Append one record from outside the ranks, in one write, so that it does not interleave with rank 0's."""
    with RunFolder(run_dir).journal.open("ab", buffering=0) as file:
        file.write(_line(kind, fields))


def _ends(kind: str, ended: bool) -> bool:
    return {"run": False, "end": True}.get(kind, ended)


def _line(kind: str, fields: dict[str, Any]) -> bytes:
    return json.dumps({"kind": kind, "time": int(time.time() * 1000), **fields}).encode() + b"\n"


def read_records(path: Path, offset: int) -> Iterator[tuple[dict[str, Any], int]]:
    """The complete lines from byte `offset` on: each record, and the offset after it. Lines that are not records are
    skipped.
    """
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and "kind" in record:
                yield record, offset


def follow(path: Path, offset: int, done: threading.Event, poll_s: float = 0.2) -> Iterator[tuple[dict[str, Any], int]]:
    """Like `read_records`, then wait for appended records, until `done` is set and all written before that are read.

    Args:
        path: the journal, which may not exist yet.
        offset: bytes to skip.
        done: ends the iteration.
        poll_s: seconds between two looks at the file.
    """
    while True:
        last_round = done.is_set()
        if path.exists():
            for record, offset in read_records(path, offset):  # noqa: B020 - the next round starts after the last record
                yield record, offset
        if last_round:
            return
        done.wait(poll_s)
