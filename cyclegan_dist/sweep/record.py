"""`sweep.jsonl`: what has happened in a sweep, one JSON object a line. What is known of a sweep is known from here.

| kind | fields |
|---|---|
| sweep | key: names the sweep in MLflow |
| trial | trial (number), values (by the keys of the space): it was drawn |
| result | trial, nimg, step, value (of the metric): in the order in which the scheduler heard them |
| cut | trial: the scheduler has told it to stop |
| again | trial, text: it crashed, and was started again |
| end | trial, status, text: finished, cut, diverged, failed or crashed. One that was interrupted has none: open |
"""

import dataclasses
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclegan_dist.storage.layout import SWEEP_JOURNAL
from cyclegan_dist.tracking.journal import Journal, read_records


@dataclass(frozen=True)
class Result:
    """What a trial said of the metric, after so many images and steps."""

    nimg: int
    step: int
    value: float


@dataclass(frozen=True)
class Trial:
    """What is known of a trial. Its status is open until it has ended."""

    number: int
    values: dict[str, Any]
    results: tuple[Result, ...] = ()
    is_cut: bool = False
    crashes: int = 0
    status: str = "open"
    text: str = ""

    @property
    def name(self) -> str:
        """Of its run."""
        return f"trial-{self.number:04d}"

    @property
    def value(self) -> float | None:
        """The last it said of the metric."""
        return self.results[-1].value if self.results else None

    @property
    def nimg(self) -> int:
        """Images after which it said that."""
        return self.results[-1].nimg if self.results else 0


class Record:
    """A sweep's `sweep.jsonl`, read and then added to. A context manager."""

    def __init__(self, folder: Path):
        self.trials: dict[int, Trial] = {}
        self.key = ""
        self.told: list[tuple[int, Result]] = []  # the results of all trials in their order
        for record in read(folder):
            self._take(record)
        self._journal = Journal(folder, SWEEP_JOURNAL)
        if not self.key:
            self.write("sweep", key=f"sweep-{secrets.token_hex(12)}")

    def write(self, kind: str, **fields: Any) -> None:
        """Add a line."""
        self._journal.write(kind, **fields)
        self._take({"kind": kind, **fields})

    def _take(self, record: dict[str, Any]) -> None:
        if record["kind"] == "sweep":
            self.key = record["key"]
            return
        number = record["trial"]
        trial = self.trials.get(number, Trial(number, {}))
        if record["kind"] == "result":
            result = Result(record["nimg"], record["step"], record["value"])
            self.told.append((number, result))
            trial = dataclasses.replace(trial, results=(*trial.results, result))
        else:
            changes = {
                "trial": lambda: {"values": record["values"]},
                "cut": lambda: {"is_cut": True},
                "again": lambda: {"crashes": trial.crashes + 1},
                "end": lambda: {"status": record["status"], "text": record["text"]},
            }
            trial = dataclasses.replace(trial, **changes[record["kind"]]())
        self.trials[number] = trial

    def __enter__(self) -> "Record":
        return self

    def __exit__(self, *exception: object) -> None:
        self._journal.__exit__(*exception)


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of a sweep's record, if there is one."""
    if (folder / SWEEP_JOURNAL).exists():
        yield from (record for record, _ in read_records(folder / SWEEP_JOURNAL, 0))
