"""Generators as files for other programs: safetensors, `torch.export` and ONNX, each compared with the original.

All take images N x C x H x W in [-1, 1] of any batch size, height and width; sides must be multiples of the network's
(4 for ResNet). The `.pt2` files are written without example inputs, so that they hold no pickle; `torch.export.load`
would execute a pickle that somebody else put into one, so load only a file whose sha256 is the one in exports.json.
"""

import hashlib
import importlib.util
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cyclegan_dist import __version__
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import CARD, Snapshot, weights_name
from cyclegan_dist.networks.build import Generator

FORMATS = ("safetensors", "pt2", "onnx")
EXPORTS = "exports.json"
TOLERANCE = 1e-4  # of values in [-1, 1]: an eightieth of a grey level
_ONNX = ("onnx", "onnxscript", "onnxruntime")
INPUT, OUTPUT = "image", "translation"
_REPEATS = 3  # of timed calls, of which the fastest counts
Network = Callable[[Tensor], Tensor]


def export_generators(snapshot: Snapshot, out: Path, formats: Sequence[str] = FORMATS) -> dict[str, Any]:
    """Write the generators of a snapshot into `out` in every format, load each file again and compare.

    Args:
        snapshot: of the generators.
        out: folder to make or to add to; with safetensors it becomes a snapshot itself.
        formats: of `FORMATS`.

    Returns:
        What `out/exports.json` holds: for each file its sha256, bytes, milliseconds per image, and the largest absolute
        difference of its outputs to the original's at three sizes; `disagreeing` compares it with the tolerance.

    Raises:
        UsageError: if a format is not known, its libraries are not installed, `out` cannot be written, or a translation
            is not one pass of a network.
    """
    _refuse_formats(formats)
    if (procedure := snapshot.generator_config.procedure) and set(formats) != {"safetensors"}:
        raise UsageError(
            f"images are {procedure}: no program without gradients can do that; give --formats safetensors alone"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / EXPORTS).unlink(missing_ok=True)  # it describes files that are about to be replaced
        if "safetensors" in formats:
            if snapshot.folder.resolve() == out.resolve():
                raise UsageError(f"{out} is the snapshot itself: choose another OUT")
            shutil.copyfile(snapshot.folder / CARD, out / CARD)
        files = [_export(snapshot, direction, kind, out) for direction in snapshot.directions for kind in formats]
        exports = {
            "program": f"cyclegan_dist {__version__}, torch {torch.__version__}",
            "card": snapshot.card,
            "values": "images N x C x H x W in [-1, 1] in and out",
            "tolerance": TOLERANCE,
            "files": files,
        }
        (out / EXPORTS).write_text(json.dumps(exports, indent=1) + "\n")
    except OSError as error:
        raise UsageError(f"cannot write to {out}: {error.strerror or error}") from error
    return exports


def refuse_other_model(snapshot: Snapshot, out: Path, *, overwrite: bool) -> None:
    """Refuse a folder with files of another model, of which some would be replaced and others stay.

    Args:
        snapshot: to export.
        out: folder for its files.
        overwrite: whether exports of another model may be replaced; another snapshot is not.

    Raises:
        UsageError: if there are such files.
    """
    exported = _read_object(out / EXPORTS)
    found = exported.get("card", {}) or _read_object(out / CARD)
    if not found or found == snapshot.card or (exported and overwrite):
        return
    advice = ", or pass --overwrite" if exported else ""
    raise UsageError(f"{out} holds another model, of run {found.get('run', 'unknown')}: choose another OUT{advice}")


def _read_object(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return tree if isinstance(tree, dict) else {}


def disagreeing(exports: dict[str, Any]) -> list[str]:
    """The files whose outputs differ from the original's by more than the tolerance, or are not finite."""
    return [
        entry["file"]
        for entry in exports["files"]
        if not all(value <= exports["tolerance"] for value in entry["max_difference"].values())
    ]


def available_formats() -> list[str]:
    """Those of `FORMATS` whose libraries are installed."""
    return [kind for kind in FORMATS if kind != "onnx" or not _missing()]


def _missing() -> list[str]:
    return [name for name in _ONNX if importlib.util.find_spec(name) is None]


def _refuse_formats(formats: Sequence[str]) -> None:
    if unknown := [kind for kind in formats if kind not in FORMATS]:
        raise UsageError(f"format {unknown[0]}: choose from {', '.join(FORMATS)}")
    if not formats:
        raise UsageError(f"no format: choose from {', '.join(FORMATS)}")
    if "onnx" in formats and _missing():
        raise UsageError(f"format onnx needs {', '.join(_missing())}: pip install 'cyclegan_dist[onnx]'")


def _export(snapshot: Snapshot, direction: str, kind: str, out: Path) -> dict[str, Any]:
    """Write one file. Returns its entry in exports.json."""
    network, path = snapshot.generator(direction), (out / weights_name(direction)).with_suffix(f".{kind}")
    if kind == "safetensors":
        shutil.copyfile(snapshot.folder / path.name, path)
        exported: Network = Snapshot.open(out).generator(direction)
    elif kind == "pt2":
        exported = _to_pt2(network, path)
    else:
        exported = _to_onnx(network, path)
        describe_onnx(path, _facts(snapshot, direction))
    return {
        "file": path.name,
        "direction": direction,
        "format": kind,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "max_difference": _differences(network, exported),
        "ms_per_image": _milliseconds(exported, _images(network, 1, *_sizes(network)[0])),
    }


def _facts(snapshot: Snapshot, direction: str) -> dict[str, str]:
    """What an ONNX file says of itself."""
    taught, multiple = snapshot.card.get("teacher", {}), snapshot.generator_config.multiple
    return {
        "program": f"cyclegan_dist {__version__}",
        "translates": f"{direction[0]} to {direction[1]} of run {snapshot.card.get('run', 'unknown')}",
        "values": f"{INPUT} N x C x H x W in [-1, 1], {OUTPUT} alike; sides multiples of {multiple}",
        "precision": "fp32",
        "snapshot": snapshot.digest(),
        **({"teacher": f"{taught['source']}, {taught['sha256']}"} if taught else {}),
    }


def _to_pt2(network: Generator, path: Path) -> Network:
    program = torch.export.export(network, (_example(network),), dynamic_shapes=_free())
    program.example_inputs = None  # it would be saved as a pickle
    torch.export.save(program, path)
    return torch.export.load(path).module()


def _to_onnx(network: Generator, path: Path) -> Network:
    program = torch.onnx.export(
        network,
        (_example(network),),
        dynamo=True,
        dynamic_shapes=_free(),
        input_names=[INPUT],
        output_names=[OUTPUT],
        verbose=False,
    )
    assert program is not None  # None comes from dynamo=False alone
    program.save(path)
    import onnxruntime  # an optional library

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run([OUTPUT], {INPUT: x.numpy()})[0])


def describe_onnx(path: Path, facts: Mapping[str, str]) -> None:
    """Add facts to the metadata of an ONNX file, where viewers and `InferenceSession.get_modelmeta` show them."""
    import onnx  # an optional library

    model = onnx.load(path)
    kept = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**kept, **facts})
    onnx.save(model, path)


def _free() -> tuple[dict[int, Any]]:
    """Batch, height and width are dynamic."""
    return (dict.fromkeys((0, 2, 3), torch.export.Dim.AUTO),)


def _example(network: Generator) -> Tensor:
    """Images to trace with. No two of their sides are equal, and none is 1, which would be taken for a constant."""
    return _images(network, 2, 3 * network.multiple, 5 * network.multiple)


def _sizes(network: Generator) -> tuple[tuple[int, int], ...]:
    """Heights and widths that are compared."""
    m = network.multiple
    return ((64, 64), (96, 128), (40, 72)) if m == 4 else ((m, m), (m, 2 * m), (2 * m, m))


def _images(network: Generator, count: int, height: int, width: int) -> Tensor:
    drawn = torch.rand(count, network.in_channels, height, width, generator=torch.Generator().manual_seed(height))
    return drawn * 2 - 1


@torch.inference_mode()
def _differences(network: Generator, exported: Network) -> dict[str, float]:
    """Largest absolute difference by height x width; each size has another batch size."""
    found = {}
    for count, (height, width) in enumerate(_sizes(network), start=1):
        x = _images(network, count, height, width)
        found[f"{height}x{width}"] = float((exported(x) - network(x)).abs().max())
    return found


@torch.inference_mode()
def _milliseconds(exported: Network, x: Tensor) -> float:
    """For one image of the first size, on the CPU with torch's number of threads."""
    taken = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        exported(x)
        taken.append(time.perf_counter() - start)
    return round(1000 * min(taken), 2)
