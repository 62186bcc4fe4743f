"""Features of pretrained classifiers at named layers: VGG-16, VGG-19, EfficientNet-Lite."""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from cyclegan_dist.errors import UsageError, suggestion
from cyclegan_dist.networks.efficientnet_lite import normalised, read_efficientnet_lite
from cyclegan_dist.networks.pretrained import PACKAGED
from cyclegan_dist.networks.weights import read_weights

WIDE = ".wide"
_CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}  # of each block
_CHANNELS = (64, 128, 256, 512, 512)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as its networks want it

_Modules = OrderedDict[str, nn.Module]


class FeatureLayers:
    """A frozen network, computed up to the last of some layers.

    Layers are called `relu1_1`, `relu1_2`, ..., `relu5_4` in a VGG. In an EfficientNet-Lite they are `stem`, `block1`,
    `block2`, ..., outputs of blocks, which have few channels and no ReLU; and `block1.wide`, `block2.wide`, ..., the
    features within a block before its depthwise convolution, after a ReLU: six times as many channels as the block
    gets (the first one: as many).

    Args:
        features: `vgg16:FILE` or `vgg19:FILE`, with a state dict of torchvision's network of that name; or a network
            of `PACKAGED`, with `:FILE` for weights in a file.
        layers: names of those that are wanted.
        device: where it is computed.
        sha256: what FILE must hash to.
        dtype: in which it is computed; None: that of the weights.

    Attributes:
        name: unique to network and weights.

    Raises:
        UsageError: if the weights cannot be read, are not those of the network, or it has no such layer.
    """

    def __init__(
        self,
        features: str,
        layers: Sequence[str],
        device: torch.device,
        sha256: str = "",
        dtype: torch.dtype | None = None,
    ):
        self.name, network = read_layers(features, layers, sha256)
        self.layers = tuple(layers)
        self._network = network.to(device=device, dtype=dtype).eval().requires_grad_(False)
        self._prepare = normalised if features.startswith(PACKAGED) else for_imagenet
        self._found: dict[str, Tensor] = {}
        for layer in layers:
            module = self._network.get_submodule(layer.removesuffix(WIDE))
            if layer.endswith(WIDE):
                module.get_submodule("_depthwise_conv").register_forward_pre_hook(partial(self._keep_input, layer))
            else:
                module.register_forward_hook(partial(self._keep_output, layer))

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """N x C x H x W in [-1, 1], C 1 or 3, to N x D x h x w for each layer.

        Raises:
            UsageError: if the images are too small for the layers.
        """
        try:
            self._network(self._prepare((images.expand(-1, 3, -1, -1) + 1) * 127.5))
        except RuntimeError as error:
            if "Kernel size" not in str(error) and "too small" not in str(error):
                raise
            height, width = images.shape[2:]
            raise UsageError(
                f"images of {width} x {height} pixels are too small for {', '.join(self.layers)}: give a larger size, "
                "or earlier layers"
            ) from error
        found, self._found = self._found, {}
        return {layer: found[layer] for layer in self.layers}

    def _keep_input(self, layer: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._found[layer] = inputs[0]

    def _keep_output(self, layer: str, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._found[layer] = output


def for_imagenet(images: Tensor) -> Tensor:
    """N x 3 x H x W in [0, 255] as torchvision's networks want them."""
    # Channel by channel: a CUDA graph cannot copy a tensor of constants to the device.
    channels = [(images[:, i] / 255 - mean) / std for i, (mean, std) in enumerate(zip(_MEAN, _STD, strict=True))]
    return torch.stack(channels, dim=1)


def read_layers(features: str, layers: Sequence[str], sha256: str = "") -> tuple[str, nn.Sequential]:
    """A name that is unique to network and weights, and the network up to the last of `layers`: blocks by their names,
    and in a VGG convolutions and pooling between them.

    Args:
        features: as for `FeatureLayers`.
        layers: as for `FeatureLayers`.
        sha256: what FILE must hash to.

    Raises:
        UsageError: if the weights cannot be read or are not those of the network, or it has no such layer.
    """
    name, _, file = features.partition(":")
    if name in PACKAGED:
        return name, nn.Sequential(_up_to(_efficientnet_lite(name, file), layers, features))
    with torch.device("meta"):  # no random numbers are drawn for weights that are replaced
        modules = _up_to(_vgg(name), layers, features)
    digest, weights = read_weights(Path(file), sha256)
    network = nn.Sequential(*modules.values())  # numbered as torchvision's
    kept = {key.removeprefix("features."): value for key, value in weights.items() if key.startswith("features.")}
    kept = {key: value for key, value in kept.items() if key in network.state_dict()}
    try:
        network.load_state_dict(kept, assign=True)
    except RuntimeError as error:
        raise UsageError(f"weights {file} are not those of torchvision's {name}") from error
    return f"{name}-{digest[:8]}", nn.Sequential(modules)


def _up_to(modules: _Modules, layers: Sequence[str], features: str) -> _Modules:
    """The modules up to the last one of `layers`.

    Raises:
        UsageError: if one of `layers` is not there.
    """
    names = list(modules)
    known = [name for name in names if not name.startswith(("conv", "pool"))]
    known += [f"{name}{WIDE}" for name in names if name.startswith("block")]
    for layer in layers:
        if layer not in known:
            raise UsageError(
                f"features {features} have no layer {layer}: {suggestion(layer, known)}there are {', '.join(known)}"
            )
    last = max(names.index(layer.removesuffix(WIDE)) for layer in layers)
    return OrderedDict(list(modules.items())[: last + 1])


def _vgg(name: str) -> _Modules:
    """The layers in the order of torchvision's `features`."""
    layers: _Modules = OrderedDict()
    before = 3
    for block, (count, channels) in enumerate(zip(_CONVOLUTIONS[name], _CHANNELS, strict=True), 1):
        for i in range(1, count + 1):
            layers[f"conv{block}_{i}"] = nn.Conv2d(before, channels, 3, padding=1)
            layers[f"relu{block}_{i}"] = nn.ReLU()
            before = channels
        layers[f"pool{block}"] = nn.MaxPool2d(2)
    return layers


def _efficientnet_lite(name: str, file: str) -> _Modules:
    """Stem and blocks."""
    network = read_efficientnet_lite(name, file)
    layers: _Modules = OrderedDict()
    layers["stem"] = nn.Sequential(network._conv_stem, network._bn0, network._swish)
    for i, block in enumerate(network._blocks, 1):
        layers[f"block{i}"] = block
    return layers
