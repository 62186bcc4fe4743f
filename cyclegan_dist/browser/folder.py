"""The folder of static files: page, script, ONNX models and ONNX Runtime Web."""

import base64
import importlib.resources
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jinja2

from cyclegan_dist.browser.runtime import FILES, VERSION, WASM, runtime_files
from cyclegan_dist.data.domain_names import direction_label
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.export import disagreeing, export_generators
from cyclegan_dist.models.snapshot import Snapshot, weights_name
from cyclegan_dist.storage.files import atomic, write_atomic

PAGE, SCRIPT, STYLE, FROM_DISK = "index.html", "page.js", "page.css", "from_disk.js"
_SOURCES = {PAGE: "page.html", SCRIPT: "page.js", STYLE: "page.css"}


def model_name(direction: str) -> str:
    """The file name of a direction's ONNX model."""
    return str(Path(weights_name(direction)).with_suffix(".onnx"))


def write_page(
    snapshot: Snapshot, out: Path, title: str, *, runtime: Path | None = None, models: Path | None = None
) -> list[Path]:
    """Write a page that translates pictures in the browser, and all that it loads. Any web server can deliver it; it
    also opens from disk, for which models and runtime lie in a script a second time.

    Args:
        snapshot: of the generators, for 8-bit images of 1 or 3 channels.
        out: folder to make or to add to.
        title: heading of the page.
        runtime: the package onnxruntime-web as a file; None: it is downloaded, once.
        models: folder of the ONNX files, as `pipelines.export` writes them; None: they are exported.

    Returns:
        The files that were written.

    Raises:
        UsageError: if the generators do not suit, the runtime or a model is missing, or `out` cannot be written.
    """
    _refuse_unfit(snapshot)
    names = [model_name(direction) for direction in snapshot.directions]
    files = runtime_files(runtime)
    with tempfile.TemporaryDirectory(prefix="cyclegan_onnx_") as folder:
        if models is None:
            models = Path(folder)
            if wrong := disagreeing(export_generators(snapshot, models, ["onnx"])):
                raise UsageError(f"the ONNX file of {', '.join(wrong)} does not compute what the generator does")
        if missing := [name for name in names if not (models / name).is_file()]:
            raise UsageError(f"{models} holds no {missing[0]}: export the generators with --formats onnx")
        try:
            out.mkdir(parents=True, exist_ok=True)
            for name in names:
                with atomic(out / name, durable=False) as draft:
                    shutil.copyfile(models / name, draft)
            for name, content in files.items():
                write_atomic(out / name, content)
            contents = {name: (out / name).read_bytes() for name in (*names, f"{WASM}.mjs", f"{WASM}.wasm")}
            write_atomic(out / FROM_DISK, _from_disk(contents))
            for name, source in _SOURCES.items():
                write_atomic(out / name, _rendered(source, snapshot, title))
        except OSError as error:
            raise UsageError(f"cannot write to {out}: {error.strerror or error}") from error
    return [out / name for name in (*_SOURCES, FROM_DISK, *names, *FILES)]


def _refuse_unfit(snapshot: Snapshot) -> None:
    channels = {count for direction in snapshot.directions for count in snapshot.channels(direction)}
    if not channels <= {1, 3} or any(snapshot.values(domain) for domain in "AB"):
        raise UsageError("a browser shows colour and grey of 8 bits, which this model does not take or make")


def _rendered(source: str, snapshot: Snapshot, title: str) -> str:
    text = importlib.resources.files("cyclegan_dist.browser").joinpath(source).read_text()
    if source != "page.html":
        return text
    return (
        jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
        .from_string(text)
        .render(
            title=title,
            directions=_directions(snapshot),
            multiple=snapshot.generator_config.multiple,
            side=int(snapshot.preprocess.get("crop_size", 0)) or 256,
            version=VERSION,
            style=STYLE,
            script=SCRIPT,
        )
    )


def _directions(snapshot: Snapshot) -> Sequence[dict[str, str | int]]:
    return [
        {
            "name": direction_label(direction, snapshot.domain_names),
            "model": model_name(direction),
            "channels": snapshot.channels(direction)[0],
        }
        for direction in snapshot.directions
    ]


def _from_disk(contents: dict[str, bytes]) -> str:
    """A script with the contents of files: browsers do not let a page from disk read the files beside it."""
    encoded = {name: base64.b64encode(content).decode() for name, content in contents.items()}
    return f"globalThis.filesFromDisk = {json.dumps(encoded)};\n"
