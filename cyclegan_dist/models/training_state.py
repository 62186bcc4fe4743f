"""The state of a training that other trainings can start from: one safetensors file, which holds no code.

It has the networks, Adam's moments and the averaged translators, by name. What belongs to one rank, such as histories
and random generators, is left out.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.files import atomic

if TYPE_CHECKING:
    from torch import Tensor

STATE = "state.safetensors"
_FACTS = "cyclegan_dist"  # key of the file's metadata


@dataclass(frozen=True)
class TrainingState:
    """A state, or parts of one; empty mappings are parts that it lacks.

    Attributes:
        networks: weights by name, such as `G_AB.model.1.weight`.
        moments: of each player's optimizer, by weight: `exp_avg`, `exp_avg_sq` and `step`.
        average: state of the moving average of the translators.
        facts: JSON values about it.
    """

    networks: "Mapping[str, Tensor]"
    moments: "Mapping[str, Mapping[str, Mapping[str, Tensor]]]" = field(default_factory=dict)
    average: "Mapping[str, Tensor]" = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_step(cls, step: Mapping[str, Any], facts: Mapping[str, Any]) -> "TrainingState":
        """The state in the `step` of a checkpoint, which is that of `Step.state_dict`."""
        moments = {player: _by_name(optimizer) for player, optimizer in step["optimizers"].items()}
        return cls(step["networks"], moments, step.get("ema", {}), facts)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(value.nbytes for value in self._tensors().values())

    def into(self, step: Mapping[str, Any]) -> dict[str, Any]:
        """`Step.state_dict` with the parts that this state has. Moments that it lacks start at zero."""
        optimizers = {
            player: {**optimizer, "state": _by_index(optimizer, self.moments.get(player, {}))}
            for player, optimizer in step["optimizers"].items()
        }
        average = {"ema": self.average or step["ema"]} if "ema" in step else {}
        return {**step, "networks": {**step["networks"], **self.networks}, "optimizers": optimizers, **average}

    def save(self, path: Path) -> str:
        """Write it to the file `path`, atomically. Returns the file's sha256.

        Raises:
            OSError: if it cannot be written.
        """
        from safetensors.torch import save_file

        copies = {name: value.detach().cpu().contiguous().clone() for name, value in self._tensors().items()}
        try:
            with atomic(path) as draft:
                save_file(copies, draft, metadata={_FACTS: json.dumps(self.facts)})
        except SafetensorError as error:  # how it reports a full disk
            raise OSError(str(error)) from error
        return file_sha256(path)

    def _tensors(self) -> "dict[str, Tensor]":
        """All tensors by their names in the file."""
        tensors = {f"networks/{name}": value for name, value in self.networks.items()}
        tensors |= {f"average/{name}": value for name, value in self.average.items()}
        for player, weights in self.moments.items():
            for name, values in weights.items():
                tensors |= {f"moments/{player}/{name}/{kind}": value for kind, value in values.items()}
        return tensors

    @classmethod
    def read(cls, path: Path) -> "TrainingState":
        """The state in the file `path`.

        Raises:
            UsageError: if there is none, or it is damaged.
        """
        from safetensors import safe_open

        networks: dict[str, Tensor] = {}
        average: dict[str, Tensor] = {}
        moments: dict[str, dict[str, dict[str, Tensor]]] = {}
        try:
            with safe_open(path, "pt") as file:
                facts = json.loads((file.metadata() or {})[_FACTS])
                for key in file.keys():  # noqa: SIM118 - it is no mapping
                    kind, _, name = key.partition("/")
                    if kind == "moments":
                        player, name, moment = name.split("/")
                        moments.setdefault(player, {}).setdefault(name, {})[moment] = file.get_tensor(key)
                    else:
                        {"networks": networks, "average": average}[kind][name] = file.get_tensor(key)
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            raise UsageError(f"the training state {path} is missing or damaged: {error}") from error
        return cls(networks, moments, average, facts)


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _names(optimizer: Mapping[str, Any]) -> Iterable[tuple[int, str]]:
    """Number and name of each weight of an optimizer's state."""
    for group in optimizer["param_groups"]:
        yield from zip(group["params"], group.get("param_names", ()), strict=False)  # old checkpoints have no names


def _by_name(optimizer: Mapping[str, Any]) -> dict[str, Any]:
    return {name: optimizer["state"][number] for number, name in _names(optimizer) if number in optimizer["state"]}


def _by_index(optimizer: Mapping[str, Any], moments: Mapping[str, Any]) -> dict[int, Any]:
    return {number: dict(moments[name]) for number, name in _names(optimizer) if name in moments}
