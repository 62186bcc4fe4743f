"""The images of a domain as they are written: encoded by several processes, in the order of the shards."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cyclegan_dist.data.domain_files import DomainFiles
from cyclegan_dist.data.encode import EncodedImage, Reading, encode_file
from cyclegan_dist.data.files import printable
from cyclegan_dist.data.pairing import stored_name
from cyclegan_dist.data.picture import UnreadableImageError
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.shard_record import BadFile, ShardRecord
from cyclegan_dist.data.summary import Summary
from cyclegan_dist.data.workers import Workers
from cyclegan_dist.errors import UsageError


class DomainImages:
    """The images of a part of a domain. Unreadable ones are reported, and so are notes.

    Args:
        workers: that encode them.
        config: what is prepared.
        reading: of the domain.
        domain: A or B.
        files: of the domain.
        names: of the part's images, in the order of the shards.
        summary: counts the images.
        report: called with a line for each note and the first of each reason why a file is left out.
        progress: wraps the results.
    """

    def __init__(
        self,
        workers: Workers,
        config: PrepareConfig,
        reading: Reading,
        domain: str,
        files: DomainFiles,
        names: Sequence[str],
        summary: Summary,
        report: Callable[[str], object],
        progress: Callable[[Iterable[Any], str, int], Iterable[Any]],
    ):
        self._workers, self._config, self._reading, self._domain = workers, config, reading, domain
        self._files, self._names, self._summary = files, names, summary
        self._report, self._progress = report, progress
        self._position = 0
        self._bad: Counter[str] = Counter()  # by reason

    def skip(self, record: ShardRecord) -> None:
        """Go on after a shard that is complete already, as if its images had been read."""
        self._position = record.position
        for file in record.bad:
            self._leave_out(file)
        self._summary.add_shard(record)

    def __iter__(self) -> Iterator[EncodedImage | BadFile]:
        """The images and unreadable files that are left.

        Raises:
            UsageError: after the last image, if too many are unreadable.
        """
        names, files = self._names[self._position :], self._files
        results = self._workers.map(partial(_try_encode, files.folder, self._reading), names)
        for image in self._progress(results, files.given, len(names)):
            if isinstance(image, EncodedImage):
                if image.note:
                    self._report(f"{image.note}: {files.shown(image.name)}")
                self._summary.add(image)
                name = stored_name(self._config, self._domain, image.name)
                yield image if name == image.name else replace(image, name=name)
            else:
                bad = BadFile(image.name, files.unreadable.get(image.name, image.reason))
                self._leave_out(bad)
                yield bad
        self._check()

    def _leave_out(self, file: BadFile) -> None:
        if not self._bad[file.reason]:
            self._report(f"left out {self._files.shown(file.name)}: {file.reason}")
        self._bad[file.reason] += 1

    def _check(self) -> None:
        config, files, bad = self._config, self._files, self._bad
        for reason, count in bad.items():
            if count > 1:
                self._report(f"left out {count - 1:,} more of {printable(files.given)}: {reason}")
        if not bad:
            return
        total, (most, count) = bad.total(), bad.most_common(1)[0]
        cause = f"{most}" if count == total else f"{count} of them: {most}"
        if config.pairs not in ("none", "some"):
            raise UsageError(
                f"{total} images in {files.given} cannot be used ({cause}), so their partners have none: remove the "
                "pairs"
            )
        if total > config.max_bad_fraction * len(self._names):
            raise UsageError(
                f"{total} of {len(self._names)} images in {files.given} cannot be used ({cause}): repair or remove "
                f"them, or raise --max-bad-fraction {config.max_bad_fraction}"
            )


def _try_encode(folder: Path, reading: Reading, name: str) -> EncodedImage | BadFile:
    try:
        return encode_file(folder, name, reading)
    except UnreadableImageError as error:
        return BadFile(name, str(error))
