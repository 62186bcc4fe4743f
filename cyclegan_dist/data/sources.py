"""What A_DIR and B_DIR can name: a folder, an archive or a part of one, a Parquet file, a published data set, or
several of these.

Loads nothing, so that a wrong path is refused at once.
"""

import errno
import re
from dataclasses import dataclass
from pathlib import Path

from cyclegan_dist.errors import UsageError

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
PARQUET = ".parquet"
PUBLISHED = "cyclegan:"  # and the name of a data set of the CycleGAN paper, and /trainA or another of its folders
HUB = "hf:"  # and OWNER/NAME, OWNER/NAME/SPLIT or OWNER/NAME/CONFIG/SPLIT of a data set on the Hugging Face Hub


@dataclass(frozen=True)
class Place:
    """One place with images.

    Attributes:
        path: of the folder, the archive or the Parquet file; or what begins with `cyclegan:` or `hf:`.
        inside: folder within the archive, without a slash at its ends; empty for all of it.
    """

    path: Path
    inside: str = ""

    def __str__(self) -> str:
        return f"{self.path}/{self.inside}" if self.inside else f"{self.path}"

    @property
    def is_published(self) -> bool:
        return str(self.path).startswith((PUBLISHED, HUB))

    @property
    def is_archive(self) -> bool:
        return self.path.name.lower().endswith(ARCHIVES) and not (exists(self.path) and self.path.is_dir())


def find_places(given: Path) -> list[Place]:
    """The places that an argument names: itself, or several divided by commas. A folder whose name has a comma is
    taken as it is.

    Raises:
        UsageError: if one does not exist, or is of another kind.
    """
    if (found := _place(given)) is not None:
        return [found]
    parts = [part.strip() for part in str(given).split(",") if part.strip()] or [str(given)]
    several = [_place(Path(part)) for part in parts]
    for part, place in zip(parts, several, strict=True):
        if place is None:
            raise UsageError(
                f"{part} is not a folder: give a folder of images, a .zip or .tar archive of them, a "
                f".parquet file, {PUBLISHED}NAME/trainA or {HUB}OWNER/NAME"
            )
    return [place for place in several if place is not None]


def exists(path: Path) -> bool:
    """Whether there is a file or folder; not if its name is too long for one, as that of several places may be."""
    try:
        return path.exists()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


def _place(path: Path) -> Place | None:
    """None if there is nothing of that name.

    Raises:
        UsageError: for a file of another kind.
    """
    if exists(path) and path.is_dir():
        return Place(path)
    if (place := Place(path)).is_published:
        name = str(path)
        if not re.fullmatch(rf"{PUBLISHED}\w+(/\w+)?|{HUB}[\w.-]+(/[\w.-]+){{1,3}}", name) or ".." in name:
            raise UsageError(f"{name}: give {PUBLISHED}NAME/trainA, or {HUB}OWNER/NAME and a SPLIT or CONFIG/SPLIT")
        return place
    if exists(path):
        if not path.name.lower().endswith((*ARCHIVES, PARQUET)):
            raise UsageError(
                f"{path} is not a folder, nor a file that holds images: give {', '.join(ARCHIVES)} or {PARQUET}"
            )
        return Place(path)
    for parent in path.parents:
        if (archive := Place(parent)).is_archive and exists(parent):
            return Place(archive.path, path.relative_to(parent).as_posix())
    return None
