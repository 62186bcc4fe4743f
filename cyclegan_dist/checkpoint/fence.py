"""One writer: of several attempts at a run, the one that came last.

After a partition of the network there can be two groups of ranks, one that the launcher has given up and one that took
its place. Both see the storage. A group claims the run when it starts; one that finds another's claim stops writing.
"""

import contextlib
import os
from pathlib import Path

ATTEMPT_FILE = "attempt"


class SupersededError(Exception):
    """Another attempt has taken over the run; what this one does is of no use any more."""


class Fence:
    """The claim on a run's folder, which all nodes see. Rank 0's; the others do as it does.

    Args:
        run_dir: the run's folder.
        attempt: this attempt's name, unlike any other's.
    """

    def __init__(self, run_dir: Path, attempt: str):
        self._file, self.attempt = run_dir / ATTEMPT_FILE, attempt

    def claim(self) -> None:
        """Take over the run."""
        temporary = self._file.with_name(f".{ATTEMPT_FILE}-{self.attempt}")
        temporary.write_text(self.attempt)
        os.replace(temporary, self._file)

    def lost(self) -> bool:
        """Whether another attempt has taken over. Storage that cannot be read says nothing."""
        with contextlib.suppress(OSError):
            return self._file.read_text() != self.attempt
        return False
