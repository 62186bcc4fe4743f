"""Write generators for other programs: safetensors, .pt2 and ONNX.

    python -m pipelines.export RUN_DIR_or_SNAPSHOT_or_models:/NAME@ALIAS OUT [--formats safetensors pt2 onnx]
        [--int8 --calibration DATA]

The files take images N x C x H x W in [-1, 1], of any batch size, height and width. `OUT/exports.json` lists for
each sha256, bytes, milliseconds per image, largest difference to the original at three sizes. Ends with 1 if a
difference is above 1e-4. ONNX needs: pip install 'cyclegan_dist[onnx]'. With --int8 there is a smaller and faster ONNX
file beside each, if translations of images of DATA stay as good; ends with 1 if they do not.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.data.location import data_path
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.registry.sources import open_source, refuse_missing_source

if TYPE_CHECKING:
    from cyclegan_dist.data.manifest import Manifest

CONSOLE = Console(width=120)


@dataclass(frozen=True)
class Export:
    """Write generators for other programs."""

    source: tyro.conf.Positional[str]
    """Folder of a run or of a snapshot, or models:/NAME@ALIAS."""
    out: tyro.conf.Positional[Path]
    """Folder for the files."""
    formats: tuple[Literal["safetensors", "pt2", "onnx"], ...] = ("safetensors", "pt2", "onnx")
    """Formats to write."""
    int8: bool = False
    """Also write ONNX files whose convolutions compute with 8 bits, if their translations stay as good."""
    overwrite: bool = False
    """Replace the files of another model in the folder."""
    calibration: str = ""
    """Data set for int8: the ranges of 64 of its images are measured, and translations of others compared."""


def _table(exports: dict[str, Any]) -> Table:
    table = Table(box=None)
    for heading in ("file", "bytes", "ms/image", *exports["files"][0]["max_difference"], "sha256"):
        table.add_column(heading, justify="left" if heading in ("file", "sha256") else "right")
    for entry in exports["files"]:
        differences = (f"{value:.1e}" for value in entry["max_difference"].values())
        cells = (entry["file"], f"{entry['bytes']:,}", f"{entry['ms_per_image']:.1f}", *differences)
        table.add_row(*cells, entry["sha256"][:16])
    return table


def _int8(command: Export, manifest: "Manifest") -> bool:
    """Write the 8-bit files. Returns whether all were kept."""
    from cyclegan_dist.evaluation.int8 import export_int8

    found = export_int8(open_source(command.source), command.out, manifest)
    for entry in found:
        grey, ms = entry["grey_levels"], entry["ms_per_image"]
        name, distances = next((key, value) for key, value in entry.items() if key.startswith(("kd/", "kid")))
        result = "kept" if entry["kept"] else "not kept, use the file of 32 bits"
        print(
            f"{entry['file']}: {entry['bytes']:,} bytes, {ms['int8']} ms/image (fp32 {ms['fp32']}); differs by "
            f"{grey['mean']:.2f} of 255 grey levels, {grey['max']} at most; {name} {distances['int8']:.4g} (fp32 "
            f"{distances['fp32']:.4g}): {result}"
        )
    return all(entry["kept"] for entry in found)


def main() -> int:
    """Read the command line, export, and show the differences. Returns 1 if one is too large."""
    command = parse_options(Export, "export", __doc__)
    refuse_missing_source(command.source)
    if command.int8 and not (command.calibration and "onnx" in command.formats):
        raise UsageError("--int8 needs --calibration DATA, images to measure ranges with, and --formats with onnx")
    calibration = data_path(command.calibration) if command.int8 else ""
    from cyclegan_dist.data.manifest import READING, open_manifest

    manifest = open_manifest(calibration, (*READING, "name")) if command.int8 else None
    from cyclegan_dist.models.export import (  # loads torch
        EXPORTS,
        TOLERANCE,
        disagreeing,
        export_generators,
        refuse_other_model,
    )

    snapshot = open_source(command.source)
    refuse_other_model(snapshot, command.out, overwrite=command.overwrite)
    exports = export_generators(snapshot, command.out, command.formats)
    CONSOLE.print(_table(exports))
    print(f"largest differences to the original by height x width; more in {command.out / EXPORTS}")
    wrong = disagreeing(exports)
    if wrong:
        print(f"not as the original, by more than {TOLERANCE:g}: {', '.join(wrong)}")
    return int(bool(wrong) or (manifest is not None and not _int8(command, manifest)))


if __name__ == "__main__":
    run_command(main)
