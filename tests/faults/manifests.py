"""Drill G4: damaged manifests of data sets."""

import shutil

from cyclegan_dist.data.config import CHECKSUM, MANIFEST
from cyclegan_dist.data.manifest import SCHEMA, open_manifest
from cyclegan_dist.data.shards import write_manifest
from cyclegan_dist.errors import UsageError
from tests.faults.matrix import Measured, Stage, row


@row(
    "G4",
    "bits flip in the manifest of a data set, or rows are removed or doubled",
    "refused in one line; without the checksum beside it, as older versions wrote none, most are",
)
def damaged_manifests(stage: Stage) -> Measured:
    folder = stage.folder / "copy"
    shutil.copytree(stage.dataset, folder)
    whole, wanted = (folder / MANIFEST).read_bytes(), open_manifest(str(folder), SCHEMA.names)
    flips = stage.times(50, 400)
    unnoticed = {"with": 0, "without": 0}
    for bit in (stage.random.randrange(8 * len(whole)) for _ in range(flips)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        (folder / MANIFEST).write_bytes(damaged)
        for kind in unnoticed:
            kept = (folder / CHECKSUM).read_bytes()
            if kind == "without":
                (folder / CHECKSUM).unlink()
            try:
                found = open_manifest(str(folder), SCHEMA.names)
                unnoticed[kind] += kind == "with" or (found.table, found.shards) != (wanted.table, wanted.shards)
            except UsageError as error:
                assert "\n" not in str(error)
            (folder / CHECKSUM).write_bytes(kept)
    rows, refused = wanted.table.to_pylist(), 0
    for changed in (rows[5:], [*rows[:3], *rows], rows[:-1]):
        write_manifest(str(folder / MANIFEST), changed, wanted.shards)  # with a checksum that fits
        try:
            open_manifest(str(folder), SCHEMA.names)
        except UsageError:
            refused += 1
    figure = (
        f"{flips} flips: accepted {unnoticed['with']}; without the checksum accepted with other content "
        f"{unnoticed['without']}; rows removed or doubled: refused {refused} of 3"
    )
    return Measured(figure, not unnoticed["with"] and refused == 3)
