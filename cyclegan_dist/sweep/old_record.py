"""Conversion of a `sweep.jsonl` from before it was an Optuna journal, once, when such a sweep is opened."""

from pathlib import Path

from cyclegan_dist.storage.files import atomic
from cyclegan_dist.sweep.config import SweepConfig
from cyclegan_dist.sweep.record import Record
from cyclegan_dist.tracking.journal import read_records


def convert(path: Path, spec: SweepConfig) -> None:
    """Replace an old `sweep.jsonl` by one with the same trials. Leaves any other file alone."""
    old = [record for record, _ in read_records(path, 0)] if path.exists() else []  # no line of Optuna's is a record
    if not old:
        return
    with atomic(path) as draft:
        record = Record(draft, spec, key=old[0]["key"])
        for line in old[1:]:
            match line["kind"]:
                case "trial":
                    record.add(line["values"])
                case "result":
                    record.report(line["trial"], line["nimg"], line["value"])
                    record.is_behind(line["trial"])  # records its rungs; whether it was cut is in a separate line
                case "cut":
                    record.note(line["trial"], is_cut=True)
                case "again":
                    record.note(line["trial"], crashes=record.trials[line["trial"]].crashes + 1)
                case "end":
                    record.end(line["trial"], line["status"], line["text"])
