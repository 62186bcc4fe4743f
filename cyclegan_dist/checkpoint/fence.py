"""The claim of one attempt at a run: only the latest attempt may write.

After a network partition there can be two groups of ranks: one that the launcher has given up, and its replacement.
Both see the storage. A group claims the run when it starts; one that finds a newer claim stops writing.
"""

import contextlib
from pathlib import Path

from cyclegan_dist.storage.files import write_atomic
from cyclegan_dist.storage.layout import RunFolder


class SupersededError(Exception):
    """Another attempt has taken over the run; the work of this one is not needed any more."""


class Fence:
    """The claim on a run folder, which all nodes see. Used on rank 0, for all ranks.

    Args:
        run_dir: the run folder.
        attempt: this attempt's unique name.
    """

    def __init__(self, run_dir: Path, attempt: str):
        self._file, self.attempt = RunFolder(run_dir).attempt, attempt

    def claim(self) -> None:
        """Take over the run.

        Raises:
            OSError: if the claim cannot be written.
        """
        write_atomic(self._file, self.attempt, writer=f"{self.attempt}-")

    def lost(self) -> bool:
        """Whether another attempt has taken over. False if the claim cannot be read."""
        with contextlib.suppress(OSError):
            return self._file.read_text() != self.attempt
        return False
