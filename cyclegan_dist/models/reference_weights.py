"""Generators of the published PyTorch implementation (pytorch-CycleGAN-and-pix2pix) and ours: the same layers under two
sets of names.

Its netG_A is our G_AB, its netG_B our G_BA. The layers of `resnet_*blocks` are numbered as ours; those of `unet_*` are
nested in each other where ours are in two lists. Its InstanceNorm has no weights and, in files of old versions, running
statistics that nothing has ever used. The norm is inferred: batch norm has weights, and with batch norm or none the
convolutions before a norm have no biases.
"""

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.networks.build import Generator, build_generator
from cyclegan_dist.networks.config import AnyGeneratorConfig, GeneratorConfig, InitConfig, Norm

_BLOCK = re.compile(r"model\.\d+\.conv_block\.1\.weight")
_STATISTICS = re.compile(r"\.(running_mean|running_var|num_batches_tracked)$")
_SHOWN = 3  # keys in a message
# By our network, the endings of its file's name. Their netD_A judges domain B; with one direction only, netD does.
_ENDINGS = {"G_AB": ("G_A", "G"), "G_BA": ("G_B",), "D_A": ("D_B",), "D_B": ("D_A", "D")}


@dataclass(frozen=True, kw_only=True)
class Published:
    """A generator that was read from a published file.

    Attributes:
        config: its architecture, found from the shapes. Dropout of a U-Net leaves no trace in them and is taken as off.
        in_channels: of the images it takes.
        out_channels: of the images it makes.
        network: with the weights.
        dropped: number of running statistics in the file that nothing uses: those of instance norm.
    """

    config: GeneratorConfig
    in_channels: int
    out_channels: int
    network: Generator
    dropped: int

    @property
    def description(self) -> str:
        """Architecture, as options of the published programs, and channels."""
        return f"{published_options(self.config)}, {self.in_channels} to {self.out_channels} channels"


def read_published(path: Path) -> Published:
    """Read a `*_net_G*.pth` file. Nothing in it is executed.

    Raises:
        UsageError: if it cannot be read, holds more than tensors, or another network; names the keys.
    """
    state = _load(path)
    norm = _norm(path, state)
    kept = _without_needless_statistics(state, norm)
    unet = "model.model.0.weight" in kept
    try:
        config, channels = _unet_shape(kept, norm) if unet else _resnet_shape(kept, norm)
    except (KeyError, IndexError, ValueError) as error:
        keys = ", ".join(list(state)[:_SHOWN]) or "none"
        raise UsageError(
            f"{path} holds no generator resnet_6blocks, resnet_9blocks, unet_128 or unet_256; its keys begin: {keys}"
        ) from error
    network = build_generator(*channels, config, InitConfig())
    names = published_names(config)
    _refuse_differences(path, {names[key]: value for key, value in network.state_dict().items()}, kept)
    network.load_state_dict({key: kept[name] for key, name in names.items()})
    return Published(
        config=config,
        in_channels=channels[0],
        out_channels=channels[1],
        network=network.eval().requires_grad_(False),
        dropped=sum(key not in kept for key in state),
    )


def read_published_discriminator(path: Path) -> dict[str, Tensor]:
    """Read a `*_net_D*.pth` file, as the state dict of a discriminator of ours. Nothing in it is executed.

    Raises:
        UsageError: as `read_published`; whether it fits a discriminator is not checked.
    """
    state = _load(path)
    state = _without_needless_statistics(state, _norm(path, state))
    # Layers have the same numbers; a discriminator of single pixels is called net there.
    return {f"model.{key.partition('.')[2]}": value for key, value in state.items()}


def published_files(path: Path) -> dict[str, Path]:
    """The file of each of our networks in a folder of published checkpoints, as `latest_net_G_A.pth` that of `G_AB`; or
    a single such file, of any epoch. Empty if there is none.
    """
    found: dict[str, Path] = {}
    for network, endings in _ENDINGS.items():
        for ending in endings:
            if path.is_dir() and (path / f"latest_net_{ending}.pth").exists():
                found.setdefault(network, path / f"latest_net_{ending}.pth")
            elif path.is_file() and path.stem.endswith(f"net_{ending}"):
                found[network] = path
    return found


def common_config(published: Mapping[str, Published]) -> CycleGANConfig:
    """The configuration of a model of one or two published generators, by direction.

    Raises:
        UsageError: if one does not translate back what the other makes.
    """
    kinds = [
        (one.config, *(one.in_channels, one.out_channels)[:: 1 if direction == "AB" else -1])
        for direction, one in published.items()
    ]
    if any(kind != kinds[0] for kind in kinds):
        found = " and ".join(f"G_{direction} is {one.description}" for direction, one in published.items())
        raise UsageError(f"the two generators do not fit each other: {found}")
    config, input_nc, output_nc = kinds[0]
    return CycleGANConfig(input_nc=input_nc, output_nc=output_nc, generator=config, lambda_identity=0)


def published_names(config: AnyGeneratorConfig) -> dict[str, str]:
    """For each key of our state dict, the published one.

    Raises:
        UsageError: if the published implementation has no such generator.
    """
    if config.arch == "coupled":
        raise UsageError("generator.arch coupled has no counterpart among the published generators")
    if config.padding != "reflect":
        raise UsageError(
            f"generator.padding {config.padding}: the published generators pad by reflection, so that this one has no "
            "counterpart among them"
        )
    with torch.device("meta"):  # names only
        keys = build_generator(3, 3, config, InitConfig()).state_dict()
    if config.arch == "resnet":
        return {key: key for key in keys}
    n = config.n_downs
    inside = ["model.model." + "".join("1.model." if j == 0 else "3.model." for j in range(i)) for i in range(n)]
    names = {}
    for i, prefix in enumerate(inside):
        down, up = (0, 3) if i == 0 else (1, 3 if i == n - 1 else 5)
        for kind in ("weight", "bias"):
            names[f"downs.{i}.{min(i, 1)}.{kind}"] = f"{prefix}{down}.{kind}"
            names[f"ups.{n - 1 - i}.1.{kind}"] = f"{prefix}{up}.{kind}"
        for kind in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):  # of batch norm
            names[f"downs.{i}.2.{kind}"] = f"{prefix}2.{kind}"
            names[f"ups.{n - 1 - i}.2.{kind}"] = f"{prefix}{up + 1}.{kind}"
    return {key: names[key] for key in keys}


def published_options(config: AnyGeneratorConfig) -> str:
    """The options with which the published programs build this generator."""
    assert config.arch != "coupled"  # refused by published_names
    kind = f"resnet_{config.n_blocks}blocks" if config.arch == "resnet" else f"unet_{2**config.n_downs}"
    drop = "" if config.dropout else " --no_dropout"
    known = "" if kind in ("resnet_6blocks", "resnet_9blocks", "unet_128", "unet_256") else ", which they lack"
    return f"--netG {kind} --ngf {config.ngf} --norm {config.norm}{drop}{known}"


def _load(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, without the prefix that nn.DataParallel leaves."""
    if path.exists() and not path.is_file():  # reading a pipe would wait for ever
        raise UsageError(f"{path} is no regular file")
    try:
        with path.open("rb") as file:
            if zipfile.is_zipfile(file) and any(entry.compress_type for entry in zipfile.ZipFile(file).infolist()):
                raise ValueError("compressed, as torch.save never writes it")  # it may unpack to gigabytes
            file.seek(0)
            state = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # damaged and malicious files make torch.load raise nearly anything
        raise UsageError(
            f"{path} was not loaded: it is damaged, or holds more than the tensors of a state dict"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(f"{path} holds no state dict: give a file *_net_G*.pth, not a whole checkpoint")
    # Views can repeat the bytes of a small file, and would take gigabytes when they are copied.
    if sum(value.numel() * value.element_size() for value in state.values()) > path.stat().st_size:
        raise UsageError(f"{path} announces more weights than its {path.stat().st_size:,} bytes hold")
    state = {str(key).removeprefix("module."): value for key, value in state.items()}
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise UsageError(f"{path}: {key} has values that are not finite: the training had failed")
    return state


def _without_needless_statistics(state: Mapping[str, Tensor], norm: Norm) -> dict[str, Tensor]:
    """The weights, and the running statistics of batch norm; old files have some of instance norm too."""
    kept = {key: value.float() for key, value in state.items() if norm == "batch" or not _STATISTICS.search(key)}
    if norm == "batch":  # files of old versions of torch do not count the batches
        means = [key for key in kept if key.endswith("running_mean")]
        kept = {key.replace("running_mean", "num_batches_tracked"): torch.zeros(()) for key in means} | kept
    return kept


def _norm(path: Path, state: Mapping[str, Tensor]) -> Norm:
    weighted = [key for key, value in state.items() if key.endswith(".weight") and value.ndim == 1]
    if weighted:
        if f"{weighted[0].removesuffix('weight')}running_var" not in state:
            raise UsageError(
                f"{path}: {weighted[0]} belongs to a norm with weights and without running statistics (affine instance "
                "norm), which the published generators do not have"
            )
        return "batch"
    convolutions = [key.removesuffix("weight") for key, value in state.items() if value.ndim == 4]
    bare = sum(f"{key}bias" not in state for key in convolutions)
    return "none" if bare and bare >= len(convolutions) - 1 else "instance"  # the last one always has a bias


def _resnet_shape(state: Mapping[str, Tensor], norm: Norm) -> tuple[GeneratorConfig, tuple[int, int]]:
    ngf, channels = state["model.1.weight"].shape[:2]
    n_blocks = sum(1 for key in state if _BLOCK.fullmatch(key))
    last = 10 + n_blocks + 7  # two ups of three layers, padding, the convolution
    # Dropout moves the second convolution on by one, to where a norm, whose weights have one axis, is otherwise.
    dropout = "model.10.conv_block.6.weight" in state and state["model.10.conv_block.6.weight"].ndim == 4
    config = GeneratorConfig(arch="resnet", ngf=ngf, n_blocks=n_blocks, dropout=dropout, norm=norm)
    return config, (channels, state[f"model.{last}.weight"].shape[0])


def _unet_shape(state: Mapping[str, Tensor], norm: Norm) -> tuple[GeneratorConfig, tuple[int, int]]:
    ngf, channels = state["model.model.0.weight"].shape[:2]
    n_downs = max(key.count(".model.") for key in state)
    if n_downs < 5:
        raise ValueError(f"{n_downs} downs")
    config = GeneratorConfig(arch="unet", ngf=ngf, n_downs=n_downs, norm=norm)
    return config, (channels, state["model.model.3.weight"].shape[1])


def _refuse_differences(path: Path, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    common = ours.keys() & theirs.keys()
    differences = {
        "unknown": [key for key in theirs if key not in common],
        "missing": [key for key in ours if key not in common],
        "of another shape": [key for key in ours if key in common and ours[key].shape != theirs[key].shape],
    }
    found = {kind: keys for kind, keys in differences.items() if keys}
    lines = [f"{kind}: {', '.join(keys[:_SHOWN])}{' ...' * (len(keys) > _SHOWN)}" for kind, keys in found.items()]
    if lines:
        raise UsageError(f"{path} holds a network that is not one of the published generators; {'; '.join(lines)}")
