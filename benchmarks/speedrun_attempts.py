"""Durations and speed of a run, added up over its attempts, from its journal and from the log of `EnergyLog`."""

import itertools
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cyclegan_dist.tracking.journal import read_records

Record = dict[str, Any]


@dataclass(frozen=True)
class Attempt:
    """One start of the training.

    Attributes:
        seconds: from the start of the process, or of the training if the log does not have it, to its last record.
        first_nimg: images that had been trained on before.
        last_nimg: images at its last record of losses.
        joules: energy of the GPU; None if it is not known.
        facts: what else the log says of it.
    """

    seconds: float
    first_nimg: int
    last_nimg: int
    joules: float | None
    facts: Record


def attempts(journal: Path, log: Path) -> list[Attempt]:
    """The attempts that had something left to train, in order."""
    starts = logged(log)
    found: list[Attempt] = []
    for records in split(journal):
        run, last_time = records[0], records[-1]["time"] / 1e3
        own = next((start for start in starts if start["started"] <= run["time"] / 1e3 <= start["time"]), None)
        nimg = [record["nimg"] for record in records if record["kind"] == "metrics"]
        if run["nimg"] >= run["total"]:
            continue
        begin = own["started"] if own else run["time"] / 1e3
        seconds = max(last_time, own["time"] if own else 0.0) - begin
        facts = {key: value for key, value in (own or {}).items() if key not in ("started", "time", "joules")}
        joules = own["joules"] if own else None
        found.append(Attempt(seconds, run["nimg"], max(nimg, default=run["nimg"]), joules, facts))
    return found


def logged(log: Path) -> list[Record]:
    """The last line of each process in the log."""
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    records = [json.loads(line) for line in lines if line.endswith("\n")]
    return list({record["started"]: record for record in records}.values())


def split(journal: Path) -> list[list[Record]]:
    """The journal's records, attempt by attempt; each begins with the record `run`."""
    found: list[list[Record]] = []
    for record, _ in read_records(journal, 0) if journal.exists() else ():
        if record["kind"] == "run":
            found.append([])
        if found:
            found[-1].append(record)
    return found


def finished(journal: Path, total: int) -> bool:
    """Whether the training has reached `total` images."""
    records = [record for some in split(journal) for record in some]
    last = max((record["nimg"] for record in records if record["kind"] == "metrics"), default=0)
    return last >= total and records[-1]["kind"] == "end" and records[-1]["status"] == "FINISHED"


def speed(journal: Path, tries: Sequence[Attempt]) -> dict[str, Any]:
    """What is reported: images, seconds, images per second, share of waiting, energy, first update."""
    points = [[record for record in some if record["kind"] == "metrics"] for some in split(journal)]
    warm = [record for some in points for record in some[1:]] or list(itertools.chain(*points))
    rates = [record["values"]["perf/images_per_s"] for record in warm]
    waits, seconds = 0.0, 0.0
    for one, two in itertools.pairwise([None, *itertools.chain(*points)]):
        assert two is not None
        took = (two["nimg"] - (one["nimg"] if one else 0)) / two["values"]["perf/images_per_s"]
        waits, seconds = waits + two["values"]["perf/data_wait_frac"] * took, seconds + took
    images = max((attempt.last_nimg for attempt in tries), default=0)
    wall = sum(attempt.seconds for attempt in tries)
    joules = [attempt.joules for attempt in tries]
    return {
        "images": images,
        "wall_s": wall,
        "images_per_s": images / wall if wall else 0.0,
        "images_per_s_while_training": statistics.median(rates) if rates else 0.0,
        "waiting_for_data": waits / seconds if seconds else 0.0,
        "kilojoules": sum(j for j in joules if j is not None) / 1e3 if joules and None not in joules else None,
        "attempts": [asdict(attempt) for attempt in tries],
    }
