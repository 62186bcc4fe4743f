"""The contract of what a run's journal is sent to, and the loop that sends it."""

import threading
import time
from pathlib import Path
from typing import Any, Protocol

from cyclegan_dist.tracking.journal import follow

FLUSH_S = 1.0  # between two flushes


class Destination(Protocol):
    """MLflow, the event file of TensorBoard, or Weights & Biases.

    Its `SenderState` says how much of the journal it has. A record that is sent again, because a sender was killed
    before it wrote the state, must not appear twice.

    Attributes:
        offset: bytes of the journal that have been read.
    """

    offset: int

    def send(self, record: dict[str, Any], offset: int) -> None:
        """Take one record, which ends at byte `offset` of the journal."""
        ...

    def flush(self) -> None:
        """Send what waits, and write the state."""
        ...


def send_journal(journal: Path, destination: Destination, done: threading.Event) -> None:
    """Send what has not been sent, then what is appended, until `done` is set."""
    flushed = time.monotonic()
    for record, offset in follow(journal, destination.offset, done):
        destination.send(record, offset)
        if time.monotonic() - flushed > FLUSH_S:
            destination.flush()
            flushed = time.monotonic()
    destination.flush()
