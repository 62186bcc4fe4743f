"""Damaged samples that were skipped: a list of them, and a limit on their number."""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from cyclegan_dist.data.reader import BadSample, DataError
from cyclegan_dist.step.distributed import World
from cyclegan_dist.storage.checked import DamagedError, append_checked, open_lines, parse_checked, whole_lines
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import Journal
from cyclegan_dist.training.hooks.progress import Progress


class Quarantine:
    """Every `every` images, the ranks exchange the damaged samples they found; rank 0 writes each once to
    `bad_samples.jsonl` in the run folder.

    Args:
        every: images between two exchanges.
        run_dir: the run folder.
        world: this rank among all.
        samples: number of samples of each domain.
        max_fraction: share of them that may be damaged; with 0 the loader raises at the first, and nothing is
            exchanged.
        journal: on rank 0, else None.
    """

    def __init__(
        self,
        every: int,
        run_dir: Path,
        world: World,
        samples: Mapping[str, int],
        max_fraction: float,
        journal: Journal | None,
    ):
        self.every, self.world, self.samples, self.journal = every, world, samples, journal
        self.max_fraction, self._path = max_fraction, RunFolder(run_dir).bad_samples
        self._found: dict[tuple[str, str], BadSample] = {}
        self.known: set[tuple[str, str]] = world.broadcast(read_known(self._path)) if max_fraction else set()

    def add(self, bad: Iterable[BadSample]) -> None:
        """Add damaged samples that this rank found."""
        for sample in bad:
            if (sample.domain, sample.key) not in self.known:
                self._found[sample.domain, sample.key] = sample

    def __call__(self, at: Progress) -> None:
        if self.max_fraction and at.due(self.every):
            self._exchange()

    def end(self, at: Progress) -> None:
        if self.max_fraction:
            self._exchange()

    def _exchange(self) -> None:
        """Merge the findings of all ranks.

        Raises:
            DataError: on all ranks, if a domain has too many damaged samples.
        """
        found = {(s.domain, s.key): s for samples in self.world.gather(list(self._found.values())) for s in samples}
        new = [sample for name, sample in sorted(found.items()) if name not in self.known]
        self.known, self._found = self.known | found.keys(), {}
        if self.journal is not None and new:
            try:
                with open_lines(self._path) as file:
                    for sample in new:
                        append_checked(file, sample._asdict())
            except OSError as error:  # a full disk must not stop a training; the journal names them too
                self.journal.message(f"{self._path} cannot be written: {error}")
            for sample in new:
                self.journal.message(f"left out {sample.domain}/{sample.key} of {sample.shard}: {sample.reason}")
        for domain, n in self.samples.items():
            bad = sum(one == domain for one, _ in self.known)
            if bad > self.max_fraction * n:
                raise DataError(
                    f"{bad} of {n} samples of domain {domain} are damaged, more than data.max_bad_fraction "
                    f"{self.max_fraction} allows: {self._path} lists them; prepare the data set again"
                )


def read_known(path: Path) -> set[tuple[str, str]]:
    """The samples in the list. Damaged lines are left out: such a sample is found again when it is due."""
    known: set[tuple[str, str]] = set()
    for line, _ in whole_lines(path) if path.exists() else ():
        with contextlib.suppress(DamagedError, KeyError):
            sample = parse_checked(line)
            known.add((str(sample["domain"]), str(sample["key"])))
    return known
