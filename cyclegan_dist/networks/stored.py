"""Files of a snapshot's generators: their names, their digest, and reading one without running code in it.

Loads torch only where weights are read.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclegan_dist.errors import UsageError
from cyclegan_dist.networks.config import AnyGeneratorConfig, GeneratorConfig, InitConfig

if TYPE_CHECKING:
    from torch import Tensor

    from cyclegan_dist.networks.build import Generator

CARD = "card.json"


def weights_name(direction: str) -> str:
    """The file name of a direction's weights."""
    return f"G_{direction}.safetensors"


def snapshot_digest(folder: Path, directions: Iterable[str]) -> str:
    """sha256 over weights and card: equal for equal snapshots in different folders. It is a tag of registered models,
    so what it is computed from must not change.

    Raises:
        OSError: if a file cannot be read.
    """
    together = hashlib.sha256()
    for name in (*map(weights_name, sorted(directions)), CARD):
        together.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return together.hexdigest()


def read_generator(path: Path, channels: tuple[int, int], config: AnyGeneratorConfig) -> "Generator":
    """The generator whose weights are in `path`, in evaluation mode and without gradients, on the CPU.

    Args:
        path: a safetensors file.
        channels: of the images that it takes, and of those it makes.
        config: its architecture.

    Raises:
        OSError, SafetensorError: if the file cannot be read or is no safetensors.
        RuntimeError: if the weights are not those of the architecture, or are not finite.
    """
    import torch
    from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

    from cyclegan_dist.networks.build import build_generator

    weights = load_file(path)
    if len(weights) < (config.n_downs if config.arch == "unet" else config.n_blocks):
        raise RuntimeError(f"{CARD} promises more layers than {path.name} holds")
    with torch.device("meta"):  # it may promise wider ones as well: no memory is taken for what the file lacks
        network = build_generator(*channels, config, InitConfig())
    network.load_state_dict(weights, assign=True)
    if bad := [key for key, value in weights.items() if not torch.isfinite(value).all()]:
        raise RuntimeError(f"{bad[0]} in {path.name} has values that are not finite")
    return network.eval().requires_grad_(False)


class StoredGenerators:
    """Frozen generators of a snapshot, for a loss that compares with what they make.

    It is no module, so that a module that uses it neither trains nor saves them. Weights are read at the first call,
    to the device and type of its images.

    Args:
        folder: of the snapshot.
        sha256: what `snapshot_digest` must be.
    """

    def __init__(self, folder: str, sha256: str):
        self._folder, self._sha256 = Path(folder), sha256
        self._networks: dict[str, Generator] = {}

    def __call__(self, direction: str, images: "Tensor") -> "Tensor":
        """Translate N x C x H x W images in [-1, 1], without gradients.

        Raises:
            UsageError: at the first call, if the snapshot cannot be read, is another one, or lacks the direction.
        """
        import torch

        if direction not in self._networks:
            from torch._subclasses.fake_tensor import unset_fake_temporarily  # takes a second to load

            with unset_fake_temporarily():  # where memory is estimated, weights would be read as tensors without data
                network = self._read(direction)
                now = next(network.parameters())
                if (now.device, now.dtype) != (images.device, images.dtype):
                    network = network.to(images.device, images.dtype)
            self._networks[direction] = network
        with torch.no_grad():
            return self._networks[direction](images)

    def _read(self, direction: str) -> "Generator":
        from safetensors import SafetensorError

        if not self._sha256:  # of a config that no launcher has completed
            raise UsageError("distillation needs a teacher: give --method.teacher, and --method.teacher_sha256")
        try:
            card: dict[str, Any] = json.loads((self._folder / CARD).read_text())
            if (found := snapshot_digest(self._folder, card["directions"])) != self._sha256:
                raise UsageError(
                    f"teacher {self._folder} has the digest {found[:16]}, not {self._sha256[:16]}: it was replaced; "
                    "restore it, or give another --name"
                )
            a, b = int(card["input_nc"]), int(card["output_nc"])
            config = GeneratorConfig(**card["generator"])
            return read_generator(
                self._folder / weights_name(direction), (a, b) if direction == "AB" else (b, a), config
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UsageError(f"teacher {self._folder} cannot be read: {reason}") from error
