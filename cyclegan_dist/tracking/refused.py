"""Records that MLflow refuses for good, such as a metric whose name is too long: `mlflow.refused.jsonl`."""

import sys
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from cyclegan_dist.storage.checked import append_checked, open_lines
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import read_records
from cyclegan_dist.tracking.sender_state import first_line

INVALID = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")  # codes of MLflow; all others may be of a server in trouble
UNCLEAR = "INTERNAL_ERROR"


def is_invalid(error: Exception) -> bool:
    """Whether an error of a sender is due to what is sent: MLflow says so, or the record lacks a field or has a value
    of another type.
    """
    if isinstance(error, MlflowException):
        return error.error_code in INVALID
    return isinstance(error, AttributeError | KeyError | TypeError | ValueError) and not isinstance(error, OSError)


def is_unclear(error: Exception) -> bool:
    """Whether MLflow had an error of its own, which may be due to what was sent, or to the server."""
    return isinstance(error, MlflowException) and error.error_code == UNCLEAR


class RefusedRecords:
    """Keeps refused records as in the journal, with the `reason`, the `offset` at which they end there, and the refused
    `metric`, or "". What is added again, as after a restart of the sender, is kept once.
    """

    def __init__(self, run_dir: Path):
        self._path = RunFolder(run_dir).refused
        self._known: set[tuple[int, str]] = set()
        self._reported: set[str] = set()
        if self._path.exists():
            self._known |= {(record["offset"], record["metric"]) for record, _ in read_records(self._path, 0)}

    def add(self, record: dict[str, Any], offset: int, error: Exception, *, metric: str = "") -> None:
        """Keep a record, or one metric of it, and print a line, for each metric and each kind of record once.

        Raises:
            OSError: if it cannot be written.
        """
        if (offset, metric) in self._known:
            return
        reason = first_line(error) if isinstance(error, MlflowException) else f"{type(error).__name__}: {error}"
        kept = {**record, "values": {metric: record["values"][metric]}} if metric else record
        with open_lines(self._path) as file:
            append_checked(file, {**kept, "reason": reason, "offset": offset, "metric": metric})
        self._known.add((offset, metric))
        what = f"metric {metric[:40]!a}{'...' if len(metric) > 40 else ''}" if metric else f"record {record['kind']}"
        if what not in self._reported:
            self._reported.add(what)
            print(f"MLflow refuses {what}: {reason[:200]}; {self._path} keeps it, the rest is sent", file=sys.stderr)
