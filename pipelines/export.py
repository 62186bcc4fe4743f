"""Write generators for other programs: safetensors, torch.export (.pt2) and ONNX, each compared with the original.

    python -m pipelines.export RUN_DIR_or_SNAPSHOT_or_models:/NAME@ALIAS OUT [--formats safetensors pt2 onnx]

The files take images N x C x H x W in [-1, 1], of any batch size, height and width. `OUT/exports.json` lists for
each sha256, bytes, milliseconds per image, largest difference to the original at three sizes. Ends with 1 if a
difference is above 1e-4. ONNX needs: pip install 'cyclegan_dist[onnx]'.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.errors import run_command
from cyclegan_dist.registry.sources import open_source, refuse_missing_source

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


def _table(exports: dict[str, Any]) -> Table:
    table = Table(box=None)
    for heading in ("file", "bytes", "ms/image", *exports["files"][0]["max_difference"], "sha256"):
        table.add_column(heading, justify="left" if heading in ("file", "sha256") else "right")
    for entry in exports["files"]:
        differences = (f"{value:.1e}" for value in entry["max_difference"].values())
        cells = (entry["file"], f"{entry['bytes']:,}", f"{entry['ms_per_image']:.1f}", *differences)
        table.add_row(*cells, entry["sha256"][:16])
    return table


def main() -> int:
    """Read the command line, export, and show the differences. Returns 1 if one is too large."""
    command = parse_options(Export, "export", __doc__)
    refuse_missing_source(command.source)
    from cyclegan_dist.models.export import EXPORTS, TOLERANCE, disagreeing, export_generators  # loads torch

    exports = export_generators(open_source(command.source), command.out, command.formats)
    CONSOLE.print(_table(exports))
    print(f"largest differences to the original by height x width; more in {command.out / EXPORTS}")
    wrong = disagreeing(exports)
    if wrong:
        print(f"not as the original, by more than {TOLERANCE:g}: {', '.join(wrong)}")
    return int(bool(wrong))


if __name__ == "__main__":
    run_command(main)
