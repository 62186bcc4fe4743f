"""Write a page that translates pictures in the browser.

    python -m pipelines.browser RUN_DIR_or_SNAPSHOT_or_models:/NAME@ALIAS FOLDER
    python -m http.server --bind 127.0.0.1 --directory FOLDER

No server program is needed. FOLDER gets index.html, the generators as ONNX files, and onnxruntime-web, which is
downloaded once and checked, from the registry of NPM_CONFIG_REGISTRY or of an installed npm (`--runtime` takes a copy
of the package). Every web server can deliver it; index.html also opens from disk. Pictures come from a file or the
camera, and never leave the browser. It computes with WebGPU where the browser has it, else with WebAssembly, and is
made for small generators. Needs: pip install 'cyclegan_dist[onnx]'.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.registry.sources import open_source, refuse_missing_source


@dataclass(frozen=True)
class Browser:
    """Write a page that translates pictures in the browser."""

    source: tyro.conf.Positional[str]
    """Folder of a run or of a snapshot, or models:/NAME@ALIAS."""
    folder: tyro.conf.Positional[Path]
    """Folder for the files of the page."""
    title: str = "Translate a picture"
    """Heading of the page."""
    models: Path | None = None
    """Folder with the ONNX files of `pipelines.export`, if they are not to be exported now."""
    runtime: Path | None = None
    """The package onnxruntime-web as a file (`npm pack`), where the registry cannot be reached."""


def main() -> None:
    """Read the command line and write the folder."""
    command = parse_options(Browser, "browser", __doc__)
    refuse_missing_source(command.source)
    for path, option in ((command.runtime, "--runtime"), (command.models, "--models")):
        if path is not None and not path.exists():
            raise UsageError(f"{option} {path} does not exist")
    from cyclegan_dist.browser.folder import write_page  # loads torch

    snapshot = open_source(command.source)
    files = write_page(snapshot, command.folder, command.title, runtime=command.runtime, models=command.models)
    size = sum(path.stat().st_size for path in files)
    print(f"{len(files)} files ({size / 1e6:.0f} MB) in {command.folder}: open index.html, or deliver the folder")


if __name__ == "__main__":
    run_command(main)
