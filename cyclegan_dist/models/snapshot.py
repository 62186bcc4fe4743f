"""A snapshot is what users of a trained model get: both generators as safetensors, and a JSON card that says how to use
them.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from cyclegan_dist import __version__
from cyclegan_dist.config.yaml_tree import refuse_unknown
from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.contract import MethodConfig
from cyclegan_dist.networks.build import Generator, build_generator
from cyclegan_dist.networks.config import GeneratorConfig, InitConfig

CARD = "card.json"
DIRECTIONS = {"AB": "G_AB", "BA": "G_BA"}


@dataclass(frozen=True, kw_only=True)
class _Card:
    """What of a card decides how weights are read; the rest is for people."""

    input_nc: Annotated[int, Ge(1)]
    output_nc: Annotated[int, Ge(1)]
    generator: GeneratorConfig
    directions: tuple[Literal["AB", "BA"], ...] = ("AB", "BA")


def save_snapshot(
    folder: Path, translators: Mapping[str, nn.Module], config: MethodConfig, facts: dict[str, Any]
) -> Path:
    """Write weights, one file for each direction, and card.json into `folder`: atomic.

    Args:
        folder: to make; replaced if it is there.
        translators: by direction: AB, BA or both.
        config: the method they were built from.
        facts: JSON values for the card (nimg, run, data digests, preprocessing).

    Raises:
        OSError: if it cannot be written.
    """
    draft = folder.parent / f".{folder.name}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for direction, network in translators.items():
        name = DIRECTIONS[direction]
        weights = {
            key: value.detach().to("cpu", torch.float32).contiguous() for key, value in network.state_dict().items()
        }
        _save(weights, draft / f"{name}.safetensors", name)
    card = {
        "what": "generators: images N x C x H x W in [-1, 1] in and out",
        "program": f"cyclegan_dist {__version__}",
        "method": config.name,
        "input_nc": config.channels["A"],
        "output_nc": config.channels["B"],
        "generator": asdict(config.generator),
        "directions": list(translators),
        **facts,
    }
    (draft / CARD).write_text(json.dumps(card, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(draft, folder)
    return folder


def _save(weights: dict[str, torch.Tensor], path: Path, network: str) -> None:
    try:
        save_file(weights, path, metadata={"network": network})
    except SafetensorError as error:  # how it reports a full disk
        shutil.rmtree(path.parent, ignore_errors=True)
        raise OSError(str(error)) from error


def load_generator(folder: Path, direction: str, device: torch.device | str = "cpu") -> Generator:
    """The generator of `direction` ("AB" or "BA") of a snapshot, ready to translate.

    Raises:
        UsageError: if `folder` is no snapshot, a damaged one, or one without that direction.
    """
    card, name = read_card(folder), DIRECTIONS[direction]
    if direction not in (found := card.get("directions", DIRECTIONS)):
        raise UsageError(f"snapshot {folder} holds no {name}, only direction {' '.join(found)}: take that one")
    channels = (card["input_nc"], card["output_nc"]) if direction == "AB" else (card["output_nc"], card["input_nc"])
    try:
        weights, config = load_file(folder / f"{name}.safetensors"), generator_config(folder)
        if len(weights) < (config.n_blocks if config.arch == "resnet" else config.n_downs):
            raise RuntimeError(f"{CARD} promises more layers than {name}.safetensors holds")
        with torch.device("meta"):  # it may promise wider ones as well: no memory is taken for what the file lacks
            network = build_generator(*channels, config, InitConfig())
        network.load_state_dict(weights, assign=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UsageError(f"snapshot {folder} is damaged: {str(error).splitlines()[0]}") from error
    return network.to(device).eval().requires_grad_(False)


def generator_config(folder: Path) -> GeneratorConfig:
    """The architecture of a snapshot's generators.

    Raises:
        UsageError: if `folder` is no snapshot, or a damaged one.
    """
    return TypeAdapter(GeneratorConfig).validate_python(read_card(folder)["generator"])


def read_card(folder: Path) -> dict[str, Any]:
    """The JSON card of a snapshot.

    Raises:
        UsageError: if it cannot be read, or says not what `save_snapshot` writes.
    """
    try:
        card = json.loads((folder / CARD).read_text())
        TypeAdapter(_Card).validate_python(card)
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise UsageError(f"snapshot {folder} is damaged: {CARD}: {reason}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{folder} is no snapshot: {CARD} cannot be read ({error})") from error
    known = [field.name for field in fields(GeneratorConfig)]
    refuse_unknown(card["generator"], known, f"snapshot {folder} is damaged: {CARD}: generator")
    return card


def find_snapshot(path: Path) -> Path:
    """`path` itself if it is a snapshot, or the newest one of the run folder `path`.

    Raises:
        UsageError: if there is none.
    """
    if (path / CARD).exists():
        return path
    found = sorted(folder.parent for folder in (path / "snapshots").glob(f"nimg-*/{CARD}"))
    if not found:
        raise UsageError(
            f"{path} is neither a snapshot nor a run with snapshots: train first, or name the folder with {CARD}"
        )
    return found[-1]
