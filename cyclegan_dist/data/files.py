"""The images in a folder, and file names as printable text. Free of torch, so that a command can look first."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePath

from cyclegan_dist.errors import UsageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")  # of Pillow
EXTENSIONS = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".npy"),
}


def list_images(folder: Path) -> list[str]:
    """Sorted relative names of the images under `folder`, recognised by extension, or by content if they have none.

    Hidden files and folders are skipped. Links to folders are listed, not followed: reading them as images fails, so
    that they are reported.

    Raises:
        UsageError: if a folder cannot be searched.
    """
    return sorted(path.as_posix() for path in list_files(folder) if _is_image(folder, path))


def list_files(folder: Path) -> Iterator[PurePath]:
    """Relative paths of all files under `folder` that are not hidden, and of links to folders."""

    def refuse(error: OSError) -> None:
        raise UsageError(f"{error.filename} cannot be searched ({error.strerror}): fix its permissions or move it")

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in (*files, *links):
            if not name.startswith("."):
                yield PurePath(place, name).relative_to(folder)


def _is_image(folder: Path, path: PurePath) -> bool:
    if path.suffix:
        return path.suffix.lower() in EXTENSIONS or (folder / path).is_dir()
    if not (folder / path).is_file():
        return (folder / path).is_dir()
    from PIL import Image  # most folders hold none such, and a command may only look whether one is empty

    with contextlib.suppress(Exception), (folder / path).open("rb") as file, Image.open(file, formats=FORMATS):
        return True
    return False


def printable(name: object) -> str:
    """A file name as one line of text, with line breaks, control characters and invalid Unicode escaped."""
    return text if (text := str(name)).isprintable() else ascii(text)
