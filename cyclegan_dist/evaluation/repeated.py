"""Messages about snapshots that repeat from one to the next."""

from cyclegan_dist.tracking.journal import Journal


class RepeatedMessages:
    """Writes the first message of each kind into the journal, and at the end how many snapshots had one.

    Attributes:
        snapshots: number of snapshots that were evaluated, or were tried to be.
        only_at_end: write no message before the end, because all follow one another now.
    """

    def __init__(self, journal: Journal):
        self.snapshots, self.only_at_end = 0, False
        self._journal = journal
        self._written: set[str] = set()  # kinds
        self._last: dict[str, str] = {}  # the newest text of each kind
        self._counts: dict[str, int] = {}

    def add(self, kind: str, text: str) -> None:
        """Count a message of a snapshot."""
        self._last[kind] = text
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if kind not in self._written and not self.only_at_end:
            self._written.add(kind)
            self._journal.message(text)

    def end(self) -> None:
        """Write the newest message of each kind that repeated, or was not written, with its number of snapshots."""
        for kind, count in self._counts.items():
            if count > 1:
                self._journal.message(f"{self._last[kind]} ({count} of {self.snapshots} snapshots)")
            elif kind not in self._written:
                self._journal.message(self._last[kind])
