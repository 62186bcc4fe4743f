"""Drill C15: image files of every kind become the values that they hold, or the preparation says what is lost."""

import contextlib
import io
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from cyclegan_dist.data.images import decode
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.reader import ShardReader
from cyclegan_dist.errors import UsageError
from tests.faults.matrix import Measured, Stage, row
from tests.faults.odd_images import OddImage, odd_images


@row(
    "C15",
    "image files of unusual bit depth, bands, transparency, colour profile, orientation, layout or container",
    "prepared as the values that they hold; what is lost is said; no silent loss",
)
def images_of_every_kind(stage: Stage) -> Measured:
    other = stage.folder / "B"
    other.mkdir()
    Image.new("RGB", (24, 24), "gray").save(other / "b.png")
    found = Counter[str]()
    worst, silent = (0.0, ""), list[str]()
    images = odd_images()
    for image in images[:: stage.times(4, 1)]:
        error, lines = read_back(image, stage.folder, other)
        if error is None:
            found["refused"] += 1
        elif error <= image.tolerance:
            found["right"] += 1
            if image.tolerance < 1:  # others are lossy or blended
                worst = max(worst, (error, image.name))
        elif lines:
            found["lossy, and said"] += 1
        else:
            silent.append(f"{image.name} {error:.1f}")
    figure = (
        f"{sum(found.values()) + len(silent)} files: {', '.join(f'{n} {kind}' for kind, n in found.items())}; worst error "
        f"of lossless ones {worst[0]:.2f} of a file's levels ({worst[1]}); silent losses {len(silent)} {' '.join(silent)}"
    )
    return Measured(figure.strip(), not silent and not found["refused"] and not found["lossy, and said"])


def read_back(image: OddImage, folder: Path, other: Path) -> tuple[float | None, list[str]]:
    """The largest error of the prepared sample, in the file's own levels, and what the preparation said. The error is
    None if the file was refused, and infinite if the sample has other sides or channels.
    """
    source = folder / f"{image.name}.A"
    source.mkdir()
    (source / image.name).write_bytes(image.data)
    lines: list[str] = []
    out = folder / f"{image.name}.out"
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            prepare(PrepareConfig(source, other, out, workers=1, white_b="255", **image.options), lines.append)
    except UsageError as error:
        return None, [str(error)]
    manifest = open_manifest(str(out))
    channels = image.values.shape[2]
    try:
        sample = decode(ShardReader(manifest, "A").read(0), channels, manifest.values["A"])
    except ValueError as error:
        return float("inf"), [*lines, str(error)]
    values = sample.double() / 255 if sample.dtype.itemsize == 1 else (sample.double() + 1) / 2
    if values.shape[1:] != image.values.shape[:2]:
        return float("inf"), lines
    return float(np.abs(values.permute(1, 2, 0).numpy() - image.values).max() * image.levels), lines
