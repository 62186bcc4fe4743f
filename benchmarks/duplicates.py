"""What `prepare --dedup` finds: copies of images that were changed in known ways, and the closest images that are not.

python -m benchmarks.duplicates FOLDER [--every 10]
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image, ImageOps

from cyclegan_dist.data.duplicates import Fingerprint, find_duplicates, fingerprint, fingerprint_of
from cyclegan_dist.data.encode import Reading
from cyclegan_dist.data.files import list_images
from cyclegan_dist.errors import run_command

Change = Callable[[Image.Image], Image.Image]
CHANGES: dict[str, tuple[Change, int]] = {  # what is done, and the quality of the JPEG
    "JPEG of quality 75": (lambda image: image, 75),
    "JPEG of quality 30": (lambda image: image, 30),
    "half the size": (lambda image: image.resize((image.width // 2, image.height // 2)), 90),
    "enlarged to 286 pixels": (lambda image: image.resize((286, 286)), 90),
    "3 % brighter": (lambda image: image.point(lambda value: min(255, int(value * 1.03))), 95),  # pyright: ignore
    "cut by 3 pixels on each side": (lambda image: ImageOps.crop(image, 3), 95),
    "mirrored": (ImageOps.mirror, 95),
}


@dataclass(frozen=True)
class Duplicates:
    """What is measured."""

    folder: tyro.conf.Positional[Path]
    """Images."""
    every: int = 10
    """Change and compare each so many-th of them."""


def main() -> None:
    """Measure and print."""
    options = tyro.cli(Duplicates, description=__doc__)
    found = (fingerprint(options.folder, Reading(), name) for name in list_images(options.folder))
    images = [one for one in found if one is not None]
    duplicates = find_duplicates(images)
    exact = sum(one.exact for one in duplicates)
    print(f"{len(images)} images: {exact} duplicates with the same pixels, {len(duplicates) - exact} nearly the same")
    print(f"closest pairs of other pixels, in grey levels: {', '.join(f'{level:.2f}' for level in _closest(images))}")
    some = images[:: options.every]
    for label, (change, quality) in CHANGES.items():
        copies = [_changed(options.folder / one.name, change, quality) for one in some]
        hits = sum(bool(find_duplicates([copy], [one])) for one, copy in zip(some, copies, strict=True))
        print(f"{label}: {hits} of {len(some)} found")


def _closest(images: list[Fingerprint]) -> list[float]:
    """The root mean square differences of the five closest pairs of thumbnails."""
    x = np.stack([one.thumbnail for one in images]).astype(np.float32) - 127.5
    square = np.maximum((x**2).mean(1)[:, None] + (x**2).mean(1) - 2 * (x @ x.T) / x.shape[1], 0)
    first, second = np.triu_indices(len(images), 1)
    order = np.argsort(square[first, second])
    other = (k for k in order if images[first[k]].sha256 != images[second[k]].sha256)
    return [float(square[first[k], second[k]]) ** 0.5 for k, _ in zip(other, range(5), strict=False)]


def _changed(path: Path, change: Change, quality: int) -> Fingerprint:
    buffer = io.BytesIO()
    with Image.open(path) as image:
        profile = image.info.get("icc_profile")
        change(image.convert("RGB")).save(buffer, "JPEG", quality=quality, icc_profile=profile)
    copy = fingerprint_of(Reading(), buffer.getvalue(), "copy")
    assert copy is not None
    return copy


if __name__ == "__main__":
    run_command(main)
