"""Overviews of runs that are read again only when something in them may have changed."""

from pathlib import Path

from cyclegan_dist.storage.files import is_locked
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.overview import RunOverview, overview

SETTLED = ("finished", "stopped", "failed", "killed")  # states that time does not change

Stamp = tuple[tuple[int, int] | None, ...]


class KeptOverviews:
    """Keeps those of runs that nobody trains: the page asks for all of them every two seconds."""

    def __init__(self) -> None:
        self._kept: dict[Path, tuple[Stamp, RunOverview]] = {}

    def of(self, name: str, path: Path) -> RunOverview:
        """As `overview`, of now."""
        try:
            stamp = _stamp(path)
            kept = self._kept.get(path)
            if kept is not None and kept[0] == stamp and not is_locked(RunFolder(path).lock):
                return kept[1]
        except OSError:  # as the overview will say
            return overview(name, path)
        found = overview(name, path)
        if found.state in SETTLED:
            self._kept[path] = (stamp, found)
        else:
            self._kept.pop(path, None)
        return found


def _stamp(path: Path) -> Stamp:
    """Time and size of each file that an overview depends on."""
    folder = RunFolder(path)
    stamps: list[tuple[int, int] | None] = []
    for file in (folder.journal, folder.best, folder.failed):
        try:
            stat = file.stat()
            stamps.append((stat.st_mtime_ns, stat.st_size))
        except FileNotFoundError:
            stamps.append(None)
    return tuple(stamps)
