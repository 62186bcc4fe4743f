"""Pictures of a comparison as files: what is there is not computed again."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from cyclegan_dist.data.encode import write_image
from cyclegan_dist.storage.files import atomic


def digest(facts: Any) -> str:
    """A short digest of JSON values, for names of files that depend on them."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Pictures:
    """The pictures in a folder, those of each kind in a folder of their own.

    Attributes:
        folder: to make or to fill.
        batch_size: pictures that are computed at once.
        report: gets a line whenever some have been computed.
    """

    folder: Path
    batch_size: int
    report: Callable[[str], object]

    def made(
        self, kind: str, facts: Any, numbers: Sequence[int], make: Callable[[Sequence[int]], Sequence[Tensor]]
    ) -> list[Path]:
        """The files of some pictures, made where they are missing.

        Args:
            kind: for the name of the folder and the report.
            facts: JSON values: all that the pictures depend on but their numbers.
            numbers: of the pictures.
            make: computes those of some numbers: C x H x W uint8.

        Raises:
            OSError: if they cannot be written.
        """
        folder = self.folder / f"{kind.replace(' ', '-')}-{digest(facts)}"
        folder.mkdir(parents=True, exist_ok=True)
        paths = {number: folder / f"{number:05d}.png" for number in numbers}
        missing = [number for number, path in paths.items() if not path.exists()]
        for start in range(0, len(missing), self.batch_size):
            batch = missing[start : start + self.batch_size]
            for number, image in zip(batch, make(batch), strict=True):
                with atomic(paths[number]) as draft:
                    write_image(image, draft)
            self.report(f"{kind}: {start + len(batch)} of {len(missing)} pictures computed")
        return list(paths.values())
