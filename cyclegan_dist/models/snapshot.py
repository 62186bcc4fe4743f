"""Snapshots: what users get of a trained model, one safetensors file for each direction and a JSON card that says how
to use them. Loads torch only where weights are read or written.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from safetensors import SafetensorError, safe_open

from cyclegan_dist import __version__
from cyclegan_dist.config.yaml_tree import check_tree, refuse_unknown
from cyclegan_dist.data.config import DataDirection
from cyclegan_dist.data.domain_names import NO_NAMES, Names, direction_label, read_direction, read_names, swapped
from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.available import DEFAULT
from cyclegan_dist.networks.bounds import Ge
from cyclegan_dist.networks.config import AnyGeneratorConfig, CoupledConfig, GeneratorConfig
from cyclegan_dist.networks.stored import CARD, read_generator, snapshot_digest, weights_name
from cyclegan_dist.storage.files import hidden, sync

if TYPE_CHECKING:
    import torch
    from torch import nn

    from cyclegan_dist.data.values import ValueRange
    from cyclegan_dist.methods.contract import MethodConfig
    from cyclegan_dist.networks.build import Generator

FORMAT = 1  # of the card; the first cards, which do not say so, have format 0


def describe_directions(*directions: str, names: Names = NO_NAMES) -> str:
    """Directions for people: `A to B`, or `A to B and B to A`; with the domains' names if there are any."""
    return " and ".join(direction_label(direction, names) for direction in directions)


@dataclass(frozen=True, kw_only=True)
class _Card:
    """The part of a card that is read by the program. Defaults are for cards that were written before the key."""

    input_nc: Annotated[int, Ge(1)]
    output_nc: Annotated[int, Ge(1)]
    generator: GeneratorConfig
    method: str = DEFAULT
    directions: tuple[Literal["AB", "BA"]] | tuple[Literal["AB", "BA"], Literal["AB", "BA"]] = ("AB", "BA")
    preprocess: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    bands: dict[str, list[int]] = field(default_factory=dict)
    trained_with: tuple[str, ...] = ()
    domain_names: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _CoupledCard(_Card):
    generator: CoupledConfig  # pyright: ignore[reportIncompatibleVariableOverride]


@dataclass(frozen=True)
class Snapshot:
    """A snapshot on disk. Weights are read by `generator`, not before.

    Attributes:
        folder: that holds it.
        card: all of its JSON card.
        method: name of the method that trained it.
        directions: that it translates: AB, BA or both.
        generator_config: architecture of its generators.
        preprocess: how images were prepared in training; empty if that is not known.
        trained_with: names of pretrained networks that took part in the training.
        domain_names: of its domains A and B, by letter; empty if they have none.
    """

    folder: Path
    card: dict[str, Any]
    method: str
    directions: tuple[str, ...]
    generator_config: AnyGeneratorConfig
    preprocess: dict[str, Any]
    trained_with: tuple[str, ...] = ()
    domain_names: Names = field(default_factory=dict[str, str])

    @classmethod
    def open(cls, path: Path | str) -> "Snapshot":
        """The snapshot in the folder `path`, or the newest one of the run in the folder `path`.

        Raises:
            UsageError: if there is none, it is damaged, or was written by a newer version of this program.
        """
        folder = _newest(Path(path))
        damaged = f"snapshot {folder} is damaged: {CARD}"
        try:
            card = json.loads((folder / CARD).read_text())
            if isinstance(card, dict) and isinstance(found := card.get("format"), int) and found > FORMAT:
                raise UsageError(
                    f"snapshot {folder} has format {found}, and this program reads formats up to {FORMAT}: "
                    "update cyclegan_dist"
                )
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(f"{folder} is no snapshot: {CARD} cannot be read ({error})") from error
        generator = card.get("generator") if isinstance(card, dict) else None
        coupled = isinstance(generator, dict) and generator.get("arch") == "coupled"
        checked = check_tree(card, _CoupledCard if coupled else _Card, damaged)
        known = [field.name for field in fields(checked.generator)]
        refuse_unknown(card["generator"], known, f"{damaged}: generator")
        for path in map(folder.joinpath, map(weights_name, checked.directions)):
            if path.exists() and not path.is_file():  # reading a pipe would wait for ever
                raise UsageError(f"snapshot {folder} is damaged: {path.name} is no regular file")
        try:
            names = read_names(checked.domain_names)
        except ValueError as error:
            raise UsageError(f"{damaged}: {error}") from error
        how = (checked.method, checked.directions, checked.generator, checked.preprocess, checked.trained_with)
        return cls(folder, card, *how, names)

    def direction(self, text: str) -> str:
        """The direction, AB or BA, that was asked for as such or by names, as `summer-to-winter`. A text that names
        none is returned as it is.
        """
        return read_direction(text, self.domain_names)

    def described(self) -> str:
        """Its directions for people: `A to B and B to A`, or with names instead."""
        return describe_directions(*self.directions, names=self.domain_names)

    def channels(self, direction: str) -> tuple[int, int]:
        """Channels of the images that `direction` takes, and of those it makes.

        Raises:
            UsageError: if the snapshot lacks that direction.
        """
        if direction not in self.directions:
            raise UsageError(
                f"direction {direction}: snapshot {self.folder} translates {self.described()} only; choose direction "
                f"{' or '.join(self.directions)}"
            )
        a_and_b = self.card["input_nc"], self.card["output_nc"]
        return a_and_b if direction == "AB" else a_and_b[::-1]

    @property
    def data_direction(self) -> DataDirection:
        """Which domain of data sets its domain A is: A for AtoB, B for BtoA (`data.direction` of its training)."""
        return "BtoA" if self.preprocess.get("direction") == "BtoA" else "AtoB"

    def way(self, direction: str) -> str:
        """A direction of data sets as the snapshot calls it; `summer-to-winter` is the same for both.

        Raises:
            UsageError: if the snapshot lacks it, or is damaged.
        """
        exchanged = self.data_direction == "BtoA"
        theirs = [way[::-1] if exchanged else way for way in self.directions]
        names = swapped(self.domain_names) if exchanged else self.domain_names
        direction = read_direction(direction, names)
        if direction not in theirs:
            raise UsageError(
                f"direction {direction}: snapshot {self.folder} translates {describe_directions(*theirs, names=names)} "
                f"only; choose direction {' or '.join(theirs)}"
            )
        self.refuse_damaged()
        return direction[::-1] if exchanged else direction

    def values(self, domain: str) -> "ValueRange | None":
        """The value range of a domain, A or B, whose images have more than 8 bits; None if they have 8.

        Raises:
            UsageError: if the card is damaged.
        """
        from cyclegan_dist.data.values import ValueRange

        try:
            return ValueRange.from_json(self.card.get("values", {}).get(domain))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"snapshot {self.folder} is damaged: {CARD}: values.{domain}: {error}") from error

    def bands(self, domain: str) -> list[int] | None:
        """The bands of a domain's files that were trained on, from 1 on; all if empty, None if none were chosen."""
        return self.card.get("bands", {}).get(domain)

    def generator(self, direction: str, device: "torch.device | str" = "cpu") -> "Generator":
        """The generator of `direction`, in evaluation mode and without gradients.

        Raises:
            UsageError: if the snapshot lacks that direction, or its weights are damaged.
        """
        channels = self.channels(direction)
        try:
            network = read_generator(self.folder / weights_name(direction), channels, self.generator_config)
        except (OSError, SafetensorError, RuntimeError) as error:
            raise UsageError(f"snapshot {self.folder} is damaged: {str(error).splitlines()[0]}") from error
        return network.to(device)

    def refuse_damaged(self) -> None:
        """Raise UsageError for weights that are missing, cut off or no safetensors. Reads headers, without torch."""
        for direction in self.directions:
            try:
                with safe_open(self.folder / weights_name(direction), "np"):
                    pass
            except (OSError, SafetensorError) as error:
                raise UsageError(f"snapshot {self.folder} is damaged: {str(error).splitlines()[0]}") from error

    def digest(self) -> str:
        """sha256 over the weights and the card: equal for equal snapshots in different folders. It is a tag of
        registered models, so what it is computed from must not change.
        """
        return snapshot_digest(self.folder, self.directions)


def _newest(path: Path) -> Path:
    if (path / CARD).is_file():
        return path
    found = sorted(folder.parent for folder in (path / "snapshots").glob(f"nimg-*/{CARD}"))
    if not found:
        raise UsageError(
            f"{path} is neither a snapshot nor a run with snapshots: train first, or name the folder with {CARD}"
        )
    return found[-1]


def save_snapshot(
    folder: Path, translators: "Mapping[str, nn.Module]", config: "MethodConfig", facts: dict[str, Any]
) -> Path:
    """Write weights, one file for each direction, and card.json into `folder`: atomic.

    Args:
        folder: to make; replaced if it exists.
        translators: by direction: AB, BA or both.
        config: the method they were built from.
        facts: JSON values for the card (nimg, run, data digests, preprocessing; `values`: by domain, the fields of its
            value range, of domains that have one).

    Returns:
        `folder`.

    Raises:
        OSError: if it cannot be written.
    """
    import torch
    from safetensors.torch import save_file

    draft = hidden(folder)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for direction, network in translators.items():
        path = draft / weights_name(direction)
        weights = {
            key: value.detach().to("cpu", torch.float32).contiguous() for key, value in network.state_dict().items()
        }
        try:
            save_file(weights, path, metadata={"network": path.stem})
        except SafetensorError as error:  # how it reports a full disk
            shutil.rmtree(draft, ignore_errors=True)
            raise OSError(str(error)) from error
    taught = config.taught_by
    helpers = (
        *config.trained_with,
        *taught.get("trained_with", ()),
        *facts.get("initialised_from", {}).get("trained_with", []),
    )
    card = {
        "what": "generators: images N x C x H x W in [-1, 1] in and out",
        "format": FORMAT,
        "program": f"cyclegan_dist {__version__}",
        "method": config.name,
        "input_nc": config.channels["A"],
        "output_nc": config.channels["B"],
        "generator": asdict(config.generator),
        **({"translation": config.generator.procedure} if config.generator.procedure else {}),
        "directions": list(translators),
        **({"trained_with": names} if (names := sorted({name.partition(":")[0] for name in helpers})) else {}),
        **({"teacher": {name: taught[name] for name in ("source", "sha256")}} if taught else {}),
        **facts,
    }
    (draft / CARD).write_text(json.dumps(card, indent=1) + "\n")
    for path in (*draft.iterdir(), draft):  # a folder with its name is taken for whole
        sync(path)
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(draft, folder)
    sync(folder.parent)
    return folder
