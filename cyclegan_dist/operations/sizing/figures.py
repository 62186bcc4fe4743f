"""Measured figures of a training step, from a file, from the shipped ones, or from `sizing.measure`."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cyclegan_dist.config.config import Config, load_config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.operations.sizing.link import Link
from cyclegan_dist.storage.files import write_atomic


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Figures of one kind of GPU, or of a CPU.

    Attributes:
        device: its name.
        origin: when and how they were measured.
        seconds: of a step of one rank, by images per domain.
        memory_gib: that a rank needs on the device, by images per domain, as far as it was measured.
        stall_s: seconds that a checkpoint holds training up, if it was measured.
        link: between ranks, if it was measured.
    """

    device: str
    origin: str
    seconds: Mapping[int, float]
    memory_gib: Mapping[int, float] = field(default_factory=dict[int, float])
    stall_s: float | None = None
    link: Link | None = None


Card = Literal["h100", "h200-prototype"]
# Of the preset horse2zebra with optim.precision bf16 and optim.fast off, or of a prototype of optim.fast, which saved
# no memory figures; docs/benchmarks.md, "On a GPU".
CARDS: dict[Card, Measured] = {
    "h100": Measured(
        device="NVIDIA H100 80GB",
        origin="2026-11-26, torch 2.11, bf16, optim.fast off",
        seconds={1: 0.0444, 4: 0.0657, 16: 0.2180},
        memory_gib={16: 17.9},
    ),
    "h200-prototype": Measured(
        device="NVIDIA H200",
        origin="2026-11-26, torch 2.11, bf16, a prototype of optim.fast, not this version; 16 images without its graph",
        seconds={1: 0.0131, 4: 0.0308, 16: 0.1014},
    ),
}


def shipped_figures(card: Card, config: Config) -> Measured:
    """The shipped figures of a card.

    Raises:
        UsageError: if `config` has other networks or images than those that were measured.
    """
    measured = load_config("horse2zebra")
    for key in ("method.name", "method.generator", "method.discriminator", "data.crop_size"):
        part, name = key.split(".")
        if getattr(getattr(config, part), name) != getattr(getattr(measured, part), name):
            raise UsageError(f"--card {card} was measured with the {key} of horse2zebra: give --measured or --measure")
    return CARDS[card]


def write_figures(measured: Measured, path: Path) -> None:
    """Write a file that `read_figures` reads."""
    write_atomic(path, json.dumps(dataclasses.asdict(measured), indent=2) + "\n")


def read_figures(path: Path) -> Measured:
    """Figures that `write_figures` wrote.

    Raises:
        UsageError: if they cannot be read.
    """
    try:
        content = json.loads(path.read_text())
        link = content.get("link")
        if not content["seconds"]:
            raise ValueError("seconds is empty")
        return Measured(
            device=str(content["device"]),
            origin=str(content["origin"]),
            seconds=_by_images(content["seconds"]),
            memory_gib=_by_images(content.get("memory_gib") or {}),
            stall_s=None if content.get("stall_s") is None else _positive(content["stall_s"]),
            link=Link(_positive(link["bytes_per_s"]), float(link["latency_s"])) if link else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise UsageError(f"{path} has no figures of --measure --save: {reason}") from error


def _by_images(content: Mapping[str, Any]) -> dict[int, float]:
    return {int(_positive(images)): _positive(value) for images, value in content.items()}


def _positive(value: Any) -> float:
    if not float(value) > 0:
        raise ValueError(f"{value} is not above 0")
    return float(value)
