"""The journal of a run, `metrics.jsonl`: one JSON object per line, written by rank 0.

Training writes here only. The terminal and MLflow follow the file in other threads and processes, so neither can slow
or stop a run, and both can catch up later. Records have a `kind`:

| kind | fields |
|---|---|
| run | config (dotted keys), data (name, digest, source, samples of each domain), nimg, total (images), attempt |
| | segments (nimg at its start and changed keys of each extension), initialised_from (source, sha256, parts), |
| | world_size, hosts (each rank's address), manifest (its digest), commit (of the source, where it is in git), |
| | device (name of rank 0's card or processor), domain_names (of A and B, if they have any), |
| | identity (the run's), changed (digest of the source's uncommitted changes, or empty), |
| | environment (versions of python, torch, cuda, driver and packages; threads, processor instructions) |
| metrics | step, nimg, values (by name) |
| estimate | step, nimg, values: images_per_s, seconds (to the end), log_s (between two records of metrics), cost, |
| | memory_bytes (of rank 0 so far), card_bytes (of its GPU), checkpoint_bytes, kept_bytes (at the end) |
| evaluation | step, nimg, values (by name) of the snapshot of that step, findings (name, direction, text of each) |
| image | step, key, path (PNG, relative to the run's folder) |
| snapshot | step, path (folder, relative), final (whether it is the run's last) |
| message | text, for the user |
| early_end | nimg, patience (images): the run ends before its schedule does, because its evaluations do not improve |
| failure | text, ranks (that died); written by the launcher's side |
| end | status: FINISHED, KILLED or FAILED |
| gave_up | text; written by the launcher, where alerts are sent, when nothing restarts the training |
| alert | id, event, name, reason, facts; written by the process that sends alerts, before it sends this one |

Each carries `time` in milliseconds since 1970, and a checksum. Damaged lines are skipped.
"""

import contextlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cyclegan_dist.storage.checked import (
    DamagedError,
    append_checked,
    has_checksum,
    open_lines,
    parse_checked,
    whole_lines,
)
from cyclegan_dist.storage.layout import JOURNAL as JOURNAL
from cyclegan_dist.storage.layout import RunFolder

# What readers rely on, by kind of record. Checked in lines of older versions, which have no checksum.
_FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "run": {"config": dict, "data": list, "nimg": int, "total": int},
    "metrics": {"step": int, "values": dict},
    "evaluation": {"step": int, "nimg": int, "values": dict},
    "estimate": {"step": int, "nimg": int, "values": dict},
    "image": {"step": int, "key": str, "path": str},
    "snapshot": {"step": int, "path": str, "final": bool},
    "message": {"text": str},
    "failure": {"text": str},
    "early_end": {"nimg": int, "patience": int},
    "end": {"status": str},
    "gave_up": {"text": str},
    "alert": {"id": str, "event": str, "name": str, "reason": str, "facts": dict},
}
RUN_RECORDS = "run.json"  # `start_records` among the files of a registered model
_METRICS = b'{"kind": "metrics"'  # begins such lines, as `_record` orders the fields


class Journal:
    """Appends records. A context manager. Skips records of steps that a resumed run repeats.

    Attributes:
        ended: whether the run has ended, and no new attempt has started to train since.
        trained_on: digest of the manifest of the data set that the recorded steps were trained on; empty if there are
            none, or an older version recorded them.
    """

    def __init__(self, run_dir: Path):
        run_dir.mkdir(parents=True, exist_ok=True)
        self._path = RunFolder(run_dir).journal
        self._recorded = {"metrics": -1, "image": -1, "evaluation": -1}  # last step of each
        self._snapshots: set[tuple[str, bool]] = set()
        self._manifest, self.trained_on = "", ""
        self._failed, self.ended, damaged, end = False, False, 0, 0
        if self._path.exists():
            for line, offset in whole_lines(self._path):
                end = offset
                if (record := _parse(line)) is None:
                    damaged += 1
                else:
                    self._note(record)
        self._file = open_lines(self._path)
        self._file.truncate(end)  # remove a partial line of a killed process
        if damaged:
            self.message(f"{self._path}: {damaged} damaged lines are left out")

    def write(self, kind: str, **fields: Any) -> None:
        """Append one record, unless it is one that `has` it."""
        if self.has(kind, **fields):
            return
        record = _record(kind, fields)
        self.ended = _ends(kind, self.ended)
        try:
            append_checked(self._file, record)
        except OSError as error:  # a full disk must not stop a training
            if not self._failed:
                text = f"{self._path} cannot be written: {error}; free some space, records are lost"
                with contextlib.suppress(OSError):  # standard error may be a file on the same disk
                    print(text, file=sys.stderr, flush=True)
            self._failed = True
        else:
            self._failed = False
            self._note(record)

    def has(self, kind: str, **fields: Any) -> bool:
        """Whether such a record is there already: a snapshot's, or one of that kind of the same step or a later one."""
        if kind == "snapshot":
            return (fields["path"], fields["final"]) in self._snapshots
        return fields.get("step", 0) <= self._recorded.get(kind, -1)

    def _note(self, record: dict[str, Any]) -> None:
        kind = record["kind"]
        self.ended = _ends(kind, self.ended)
        if kind == "run":
            self._manifest = record.get("manifest", "")
        elif kind == "metrics":
            self.trained_on = self._manifest
        if kind == "snapshot":
            self._snapshots.add((record["path"], record["final"]))
        elif kind in self._recorded:
            self._recorded[kind] = max(self._recorded[kind], record["step"])

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
    """Append one record from outside the ranks.

    Raises:
        OSError: if it cannot be written.
    """
    with open_lines(RunFolder(run_dir).journal) as file:
        append_checked(file, _record(kind, fields))


def _ends(kind: str, ended: bool) -> bool:
    return {"run": False, "end": True}.get(kind, ended)


def _record(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"kind": kind, "time": int(time.time() * 1000), **fields}


def _parse(line: bytes) -> dict[str, Any] | None:
    """The record in a line; None if it is damaged, or is not one."""
    try:
        record = parse_checked(line)
    except DamagedError:
        return None
    kind = record.get("kind")
    if not isinstance(kind, str):
        return None
    fits = all(isinstance(record.get(name), type_) for name, type_ in _FIELDS.get(kind, {}).items())
    return record if fits or has_checksum(line) else None


def read_records(path: Path, offset: int) -> Iterator[tuple[dict[str, Any], int]]:
    """The complete lines from byte `offset` on: each record, and the offset after it. Lines that are not records are
    skipped.

    Raises:
        OSError: if the file cannot be read.
    """
    for line, end in whole_lines(path, offset):
        if (record := _parse(line)) is not None:
            yield record, end


def sparse_records(path: Path) -> Iterator[dict[str, Any]]:
    """The records in order, but of metrics that follow each other only the last: they are most lines of a journal, and
    the others need not be parsed.

    Raises:
        OSError: if the file cannot be read.
    """
    held = b""
    for line, _ in whole_lines(path):
        if not line.startswith(_METRICS):
            yield from filter(None, map(_parse, (held, line) if held else (line,)))
            held = b""
        else:
            held = line
    if held and (record := _parse(held)) is not None:
        yield record


def images_of(record: dict[str, Any]) -> int:
    """The images seen at a record of metrics, an evaluation or an image; records of images have them in the path."""
    if "nimg" in record:
        return record["nimg"]
    found = re.search(r"nimg-(\d+)", record.get("path", ""))
    return int(found[1]) if found else record["step"]


def recorded_identity(run_dir: Path) -> str | None:
    """The identity in the newest record of a start of the run; empty if those have none, None if there is no record."""
    path = RunFolder(run_dir).journal
    records = (record for record, _ in read_records(path, 0)) if path.exists() else ()
    found = [str(record.get("identity", "")) for record in records if record["kind"] == "run"]
    return next(filter(None, reversed(found)), "") if found else None


def start_records(run_dir: Path) -> list[dict[str, Any]]:
    """The records of a run's starts, oldest first: of its first start, and of each time that it was resumed."""
    path = RunFolder(run_dir).journal
    return [record for record in sparse_records(path) if record["kind"] == "run"] if path.is_file() else []


def training_seconds(path: Path) -> float:
    """Seconds of training by a run's journal: from the start of each attempt to the last losses or snapshot that it has
    recorded, without the wait for evaluations at the end. 0 without a journal.
    """
    total, start, last = 0, None, 0
    for record, _ in read_records(path, 0) if path.exists() else ():
        if record["kind"] == "run":
            total += last - start if start is not None else 0
            start = record["time"]
        if record["kind"] in ("run", "metrics", "snapshot"):
            last = record["time"]
    return (total + (last - start if start is not None else 0)) / 1000


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
