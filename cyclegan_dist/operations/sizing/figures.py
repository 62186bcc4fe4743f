"""Measured figures of a training step, from a file, from the shipped ones, or from `sizing.measure`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from cyclegan_dist.config.config import Config, load_config, with_values
from cyclegan_dist.config.yaml_tree import flatten
from cyclegan_dist.errors import UsageError
from cyclegan_dist.operations.sizing.link import Link
from cyclegan_dist.storage.files import write_atomic


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Figures of one kind of GPU, or of a CPU.

    Attributes:
        device: its name.
        origin: when and how they were measured.
        workload: what was computed, by the config's keys, as `workload` returns it.
        seconds: of a step of one rank, by images per domain.
        memory_gib: that a rank needs on the device, by images per domain, as far as it was measured.
        stall_s: seconds that a checkpoint holds training up, if it was measured.
        link: between ranks, if it was measured.
    """

    device: str
    origin: str
    workload: Mapping[str, Any]
    seconds: Mapping[int, float]
    memory_gib: Mapping[int, float] = field(default_factory=dict[int, float])
    stall_s: float | None = None
    link: Link | None = None


Card = Literal["h100", "h200-prototype"]
# Steps of the preset horse2zebra with optim.precision bf16, measured on 2026-11-26 before optim.fast existed, or with a
# prototype of it whose memory was not noted.
CARDS: dict[Card, dict[str, Any]] = {
    "h100": {
        "device": "NVIDIA H100 80GB",
        "origin": "2026-11-26, torch 2.11, bf16, optim.fast off",
        "seconds": {1: 0.0444, 4: 0.0657, 16: 0.2180},
        "memory_gib": {16: 17.9},
    },
    "h200-prototype": {
        "device": "NVIDIA H200",
        "origin": "2026-11-26, torch 2.11, bf16, prototype of optim.fast, not this version; 16 images without graph",
        "seconds": {1: 0.0131, 4: 0.0308, 16: 0.1014},
    },
}


def workload(config: Config) -> dict[str, Any]:
    """The keys of a config that decide the time and memory of a step: networks, images, arithmetic, and which losses
    are computed at all. Values are those that JSON has.
    """
    method = flatten({"method": asdict(config.method)})
    chosen = {key: value for key, value in method.items() if not key.startswith(("method.init", "method.pool_size"))}
    chosen = {key: bool(value) if ".lambda_" in key else value for key, value in chosen.items()}
    size = {"data.crop_size" if "crop" in config.data.preprocess else "data.load_size": image_side(config)}
    found = {**chosen, **size, "optim.precision": config.optim.precision}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}


def image_side(config: Config) -> int:
    """Side of the images in pixels; where preprocessing leaves several sizes, the one that is resized to."""
    return config.data.crop_size if "crop" in config.data.preprocess else config.data.load_size


def image_shapes(config: Config, images: int) -> dict[str, tuple[int, int, int, int]]:
    """The shapes of a micro-batch's images by name, so many of each domain and, where the method learns from some
    pairs, so many pairs.
    """
    kinds, side = ("real", "pair") if config.method.pairing == "some" else ("real",), image_side(config)
    channels = config.method.channels.items()
    return {f"{kind}_{domain}": (images, count, side, side) for kind in kinds for domain, count in channels}


def shipped_figures(card: Card) -> Measured:
    """The shipped figures of a card."""
    config = with_values(load_config("horse2zebra"), {"optim.precision": "bf16"}, "horse2zebra")
    return Measured(workload=workload(config), **CARDS[card])


def refuse_other_workload(measured: Measured, config: Config, source: str) -> None:
    """Refuse figures of other networks, images or arithmetic than the config's.

    Raises:
        UsageError: naming the first difference.
    """
    wanted = workload(config)
    method, now = measured.workload.get("method.name"), wanted["method.name"]
    if method != now:  # first, because the other keys of a method are no options of another
        raise UsageError(f"{source} was measured with method {method}, not {now}: measure anew")
    for key in sorted(wanted.keys() | measured.workload.keys()):
        was, now = measured.workload.get(key), wanted.get(key)
        if was != now:
            raise UsageError(f"{source} was measured with {key} {was}, not {now}: give --{key} {was}, or measure anew")


def write_figures(measured: Measured, path: Path) -> None:
    """Write a file that `read_figures` reads."""
    write_atomic(path, json.dumps(asdict(measured), indent=2) + "\n")


def read_figures(path: Path, config: Config) -> Measured:
    """Figures that `write_figures` or `python -m benchmarks.gpu --json` wrote; of the latter those with the precision
    and `optim.fast` of the config.

    Raises:
        UsageError: if they cannot be read.
    """
    try:
        content = json.loads(path.read_text())
        found = _of_benchmark(content, config) if "cells" in content else _of_this(content)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise UsageError(f"{path} has no figures of --save or benchmarks.gpu: {reason}") from error
    if not found.seconds:
        raise UsageError(f"{path} has no step that was measured with this precision and optim.fast")
    return found


def _of_this(content: Mapping[str, Any]) -> Measured:
    link = content.get("link")
    return Measured(
        device=str(content["device"]),
        origin=str(content["origin"]),
        workload=dict(content["workload"]),
        seconds=_by_images(content["seconds"]),
        memory_gib=_by_images(content.get("memory_gib") or {}),
        stall_s=None if content.get("stall_s") is None else _positive(content["stall_s"]),
        link=Link(_positive(link["bytes_per_s"]), float(link["latency_s"])) if link else None,
    )


def _of_benchmark(content: Mapping[str, Any], config: Config) -> Measured:
    precision, size = config.optim.precision, content["workload"]
    variant = f"{precision}, fast {'on' if config.optim.is_fast('cuda') else 'off'}"
    values = {"data.load_size": size["size"], "data.crop_size": size["size"], "optim.precision": precision}
    values |= {"method.generator.ngf": size["ngf"], "method.discriminator.ndf": size["ngf"]}
    values |= {"method.generator.n_blocks": size["n_blocks"]}
    line = str(content["machine"]).splitlines()[0]  # date, device, versions
    cells = [cell for cell in content["cells"] if cell["variant"] == variant and "median_ms" in cell]
    return Measured(
        device=line.split(", ")[1],
        origin=f"{line}, {variant}",
        workload=workload(with_values(load_config("horse2zebra"), values, "horse2zebra")),
        seconds=_by_images({cell["batch"]: cell["median_ms"] / 1000 for cell in cells}),
        memory_gib=_by_images({cell["batch"]: cell["peak_gib"] for cell in cells if cell.get("peak_gib")}),
    )


def _by_images(content: Mapping[str, Any]) -> dict[int, float]:
    return {int(_positive(images)): _positive(value) for images, value in content.items()}


def _positive(value: Any) -> float:
    if not float(value) > 0:
        raise ValueError(f"{value} is not above 0")
    return float(value)
