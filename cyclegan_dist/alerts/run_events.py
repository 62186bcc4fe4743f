"""What has happened to a run that people are alerted of, by its journal and its lock."""

import time
from pathlib import Path
from typing import Any

from cyclegan_dist.alerts.alert import KIND, Alert, Event, identity
from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.files import is_locked
from cyclegan_dist.storage.layout import RunFolder, Status
from cyclegan_dist.tracking.journal import read_records
from cyclegan_dist.tracking.overview import stall_limit_s
from cyclegan_dist.tracking.quantities import duration
from cyclegan_dist.tracking.sender_state import key_of

COLLAPSES = ("collapsed", "discriminator-won")  # findings of an evaluation after which training on helps little
PROGRESS = ("run", "metrics", "estimate", "evaluation", "image", "snapshot", "end")  # kinds of record
KILLED = "its launcher was killed, or its machine has failed; run the same command again to resume"
LOST = "nothing shows that its launcher is still there; run the same command again to resume"


class RunEvents:
    """Follows one run.

    Args:
        path: its folder.
        name: for people.

    Attributes:
        recorded: the alerts in the run's own journal: by id the offset after the record, and its time in seconds.
        active: whether its launcher was there at the last look and had not ended the training.
        unconfirmed: whether its launcher seemed to be gone then, which is not yet sure.
        updated: time of its newest progress, in seconds since 1970; 0 before any.
        is_trial: whether it is one of a sweep's trials, of which failures are ordinary.
    """

    def __init__(self, path: Path, name: str):
        self.path, self.name = path, name
        self._folder, self._was_locked, self._free_since = RunFolder(path), False, 0.0
        self._forget()

    def _forget(self) -> None:
        self.recorded: dict[str, tuple[int, float]] = {}
        self.active, self.unconfirmed, self.updated, self.is_trial, self._offset = False, False, 0.0, False, 0
        self._run: dict[str, Any] = {}  # the newest start
        self._images, self._total, self._rate, self._end = 0, 0, 0.0, ""
        self._gave_up: tuple[int, str] | None = None  # when, and why
        self._collapse: tuple[int, str] | None = None  # images at the first of the evaluations in a row that found one

    def look(self, confirm_s: float, now: float | None = None) -> list[Alert]:
        """All that people are alerted of that is the case, whether it is new or not.

        Args:
            confirm_s: time in which a launcher may restart itself, so that its lock is free.
            now: seconds since 1970.

        Raises:
            OSError: if the journal or the lock cannot be read.
        """
        locked = is_locked(self._folder.lock)  # before the journal, in which a run that ends meanwhile has then ended
        self._read()
        now = time.time() if now is None else now
        self.active = locked and bool(self._run) and not self._end
        self._was_locked |= locked
        self._free_since = 0.0 if locked else self._free_since or now
        found: list[Alert | None] = []
        if self._collapse:
            found.append(self._alert("collapsed", self._collapse[1], self._collapse[0]))
        if self.active and self._images < self._total and self._is_late(now):
            silence = duration(now - self.updated)
            reason = f"no progress for {silence}, though its launcher is there; see its log, and stacks-rank-*.txt"
            found.append(self._alert("stalled", reason, self._images))
        found.append(self._failure(locked, confirm_s, now))
        if self._end == Status.FINISHED:
            found.append(self._alert("finished", f"{self._images} images", self._images))
        return [alert for alert in found if alert is not None]

    def _failure(self, locked: bool, confirm_s: float, now: float) -> Alert | None:
        self.unconfirmed = False
        if self._gave_up:
            return self._alert("failed", self._gave_up[1], self._gave_up[0])
        if not self._run or locked or self._end in (Status.FINISHED, Status.KILLED):
            return None
        # A lock that was never seen may be that of another machine, which cannot be seen from here.
        if not (now - self._free_since >= confirm_s if self._was_locked else self._is_late(now)):
            self.unconfirmed = self._was_locked
            return None
        known = self._folder.read_failure()
        reason = known.message if known else KILLED if self._was_locked else LOST
        return self._alert("failed", reason, self._run.get("attempt", 0))

    def _is_late(self, now: float) -> bool:
        limit = stall_limit_s(self._run.get("config", {}), self._rate)
        return limit is not None and now - self.updated > limit

    def _alert(self, event: Event, reason: str, number: object) -> Alert:
        """An alert of this run; `number` distinguishes it from others of the same event."""
        try:
            key = key_of(self.path)
        except UsageError:  # its first line is damaged
            key = self.path.name
        facts = {"folder": str(self.path), "images": self._images, "total": self._total}
        return Alert(id=identity(key, event, number), event=event, name=self.name, reason=reason, facts=facts)

    def _read(self) -> None:
        if not self._folder.journal.exists():
            return
        if self._folder.journal.stat().st_size < self._offset:  # another run is in this folder now
            self._forget()
        for record, offset in read_records(self._folder.journal, self._offset):
            self._offset = offset
            if record["kind"] in PROGRESS:
                self.updated = record["time"] / 1000
            self._take(record)

    def _take(self, record: dict[str, Any]) -> None:
        kind = record["kind"]
        if kind in ("run", "metrics", "estimate"):
            self._images = max(self._images, record.get("nimg", 0))
        if kind == "run":
            self._run, self._total, self._end, self._gave_up = record, record["total"], "", None
            self.is_trial = bool(record["config"].get("tracking.parent"))
        elif kind == "metrics":
            self._rate = record["values"].get("perf/images_per_s", 0.0)
        elif kind == "estimate":
            self._rate = record["values"]["images_per_s"]
        elif kind == "early_end":
            self._total = record["nimg"]
        elif kind == "evaluation":
            texts = [one["text"] for one in record.get("findings", ()) if one["name"] in COLLAPSES]
            first = self._collapse[0] if self._collapse else record["nimg"]
            self._collapse = (first, "; ".join(texts)) if texts else None
        elif kind == "gave_up":
            self._gave_up = (record["time"], record["text"])
        elif kind == "end":
            self._end = record["status"]
        elif kind == KIND:
            self.recorded[record["id"]] = (self._offset, record["time"] / 1000)
