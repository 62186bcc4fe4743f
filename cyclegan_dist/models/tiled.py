"""Translating images that are too large for memory, tile by tile and without seams.

Instance norm depends on the whole image, so that tiles which are translated on their own differ in tone. Here every
layer is computed for the whole image before the next: each convolution reads its tiles with the few pixels around them
that it needs, writes its output to a temporary file, and accumulates mean and variance of the whole. The result equals
that of the image in one piece, to rounding.
"""

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_dist.data.images import to_bytes
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.inference import padding
from cyclegan_dist.models.tile_store import (
    ImageInMemory,
    ImageSource,
    Layer,
    PaddedImage,
    Shape,
    StoredLayer,
    Window,
    windows,
)
from cyclegan_dist.networks.build import Generator
from cyclegan_dist.networks.resnet import ResidualBlock, ResnetGenerator

SMALLEST = 32  # pixels of a tile's side: below that, there are more around a tile than in it
BAND = 256  # rows of a large tile that are computed at once: convolutions take several times the memory of their output
_MODES: dict[type[nn.Module], str] = {
    nn.ReflectionPad2d: "reflect",
    nn.ReplicationPad2d: "replicate",
    nn.ZeroPad2d: "constant",
}


def translate_tiled(
    network: Generator, image: Tensor, tile: int, finish: Callable[[Tensor], Tensor] = to_bytes
) -> Tensor:
    """Translate one C x H x W image, uint8 or float32 in [-1, 1]; the result is C' x H x W.

    Memory is that of both images and of a few tiles of the widest layer. Up to 6 * ngf bytes for each pixel of the
    image lie in the system's temporary folder (TMPDIR) meanwhile.

    Args:
        network: a ResNet generator.
        image: of any size.
        tile: side of a tile in pixels, at least 32.
        finish: applied to each part of the network's output, C' x h x w in [-1, 1].

    Raises:
        UsageError: if the network is another one, the tile is too small, or the temporary folder is full.
    """
    result: Tensor | None = None
    for window, values in tiled_outputs(tileable(network, tile), ImageInMemory(image), tile):
        part = finish(values)
        if result is None:
            result = torch.empty(len(part), *image.shape[1:], dtype=part.dtype)
        result[:, window.top : window.bottom, window.left : window.right] = part
    assert result is not None
    return result


def tileable(network: Generator, tile: int) -> ResnetGenerator:
    """`network`, if it can be computed in such tiles.

    Raises:
        UsageError: if not.
    """
    if not isinstance(network, ResnetGenerator):
        raise UsageError("tile: only ResNet generators are computed in tiles, and this one is a U-Net; leave it out")
    if tile < SMALLEST:
        raise UsageError(f"tile {tile}: give at least {SMALLEST} pixels")
    return network


@torch.inference_mode()
def tiled_outputs(network: ResnetGenerator, image: ImageSource, tile: int) -> Iterator[tuple[Window, Tensor]]:
    """The translation of an image, window after window: C' x h x w in [-1, 1].

    Raises:
        UsageError: if the temporary folder has no room for the layers.
    """
    _, height, width = image.shape
    down, right, mode = padding(height, width, network.multiple)
    like = next(network.parameters())
    pixels = PaddedImage(image, down, right, "reflect" if mode == "reflect" else "replicate", like)
    parts = -(-pixels.shape[1] // tile) * max(1, tile // BAND), -(-pixels.shape[2] // tile)
    refuse_full_disk({Path(tempfile.gettempdir()): layer_bytes(network, image.shape)})
    try:
        with tempfile.TemporaryDirectory(prefix="cyclegan_tiles_") as folder:
            made = _Pass(Path(folder), parts, like).through(network.model, pixels)
            for window in windows(made.shape, parts):
                inside = clipped(window, height, width)  # without what was added to the sides
                if inside.top < inside.bottom and inside.left < inside.right:
                    yield inside, made.read(inside)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"no room for layers in {tempfile.gettempdir()} ({reason}): point TMPDIR elsewhere") from error


def layer_bytes(network: ResnetGenerator, shape: Shape) -> int:
    """Bytes of the layers of an image, C x H x W, that are on disk at the same time, at most: two at the image's size
    or next to it.
    """
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    first, last = convolutions[0], convolutions[-1]
    width = max(1.5 * first.out_channels, last.in_channels + last.out_channels)
    return int(width * first.weight.element_size() * shape[1] * shape[2])


def refuse_full_disk(needed: Mapping[Path, int]) -> None:
    """Refuse to begin what needs so many bytes in folders that exist.

    Raises:
        UsageError: if a file system has less room than its folders need together.
    """
    devices: dict[int, list[Path]] = defaultdict(list)
    for folder in needed:
        devices[folder.stat().st_dev].append(folder)
    for folders in devices.values():
        wanted, free = sum(needed[folder] for folder in folders), shutil.disk_usage(folders[0]).free
        if wanted > free:
            raise UsageError(
                f"{' and '.join(map(str, folders))} need {wanted / 1e9:.2f} GB for this image, and {free / 1e9:.2f} GB "
                "are free: point TMPDIR elsewhere, or free space"
            )


class _Pass:
    """The forward pass of one image, layer after layer."""

    def __init__(self, folder: Path, parts: tuple[int, int], like: Tensor):
        self.folder, self.parts, self.like = folder, parts, like

    def through(self, layers: nn.Sequential, source: Layer) -> Layer:
        """The output of layers that begin, but for padding, with a convolution. `source` is kept."""
        current, mode = source, "constant"
        for layer in layers:
            if type(layer) in _MODES:
                mode = _MODES[type(layer)]
            elif isinstance(layer, nn.Conv2d):
                current = self._replaced(current, source, self._convolved(current, layer, mode))
                mode = "constant"
            elif isinstance(layer, nn.ConvTranspose2d):
                current = self._replaced(current, source, self._enlarged(current, layer))
            elif isinstance(layer, ResidualBlock):
                current = self._replaced(current, source, self._added(current, layer))
            elif not isinstance(layer, nn.Dropout):  # which does nothing after training
                assert isinstance(current, StoredLayer)
                if isinstance(layer, nn.InstanceNorm2d):
                    current.normalise(layer.eps)
                elif isinstance(layer, nn.BatchNorm2d):  # of running statistics: a function of each pixel
                    current.then(lambda x, norm=layer: norm(x[None])[0])
                else:
                    current.then(layer)
        return current

    def _replaced(self, current: Layer, source: Layer, following: Layer) -> Layer:
        """`following`; the file of `current`, which it was computed from, is deleted unless that is still needed."""
        if current is not source:
            current.close()
        return following

    def _convolved(self, source: Layer, layer: nn.Conv2d, mode: str) -> StoredLayer:
        """A convolution that keeps the sides, or halves them; what it pads, or the layer before it, is `mode`."""
        around, stride = layer.kernel_size[0] // 2, layer.stride[0]
        _, height, width = source.shape
        made = self._layer((layer.out_channels, height // stride, width // stride))
        for window in windows(made.shape, self.parts):
            more = around + 1 - stride
            wanted = Window(
                window.top * stride - around,
                window.bottom * stride + more,
                window.left * stride - around,
                window.right * stride + more,
            )
            inside = clipped(wanted, height, width)
            top, bottom, left, right = (abs(a - b) for a, b in zip(wanted, inside, strict=True))
            x = F.pad(source.read(inside)[None], (left, right, top, bottom), mode=mode)
            made.write(window, F.conv2d(x, layer.weight, layer.bias, layer.stride)[0])
        return made

    def _enlarged(self, source: Layer, layer: nn.ConvTranspose2d) -> StoredLayer:
        """A transposed convolution that doubles the sides: 2 x 2 pixels come from one and its right and lower
        neighbours.
        """
        _, height, width = source.shape
        made = self._layer((layer.out_channels, 2 * height, 2 * width))
        for window in windows(made.shape, self.parts):
            top, bottom, left, right = (edge // 2 for edge in window)
            x = source.read(clipped(Window(top, bottom + 1, left, right + 1), height, width))
            made.write(window, layer(x[None])[0, :, : window.bottom - window.top, : window.right - window.left])
        return made

    def _added(self, source: Layer, block: ResidualBlock) -> StoredLayer:
        inner = self.through(block.conv_block, source)
        made = self._layer(source.shape)
        for window in windows(made.shape, self.parts):
            made.write(window, source.read(window) + inner.read(window))
        inner.close()
        return made

    def _layer(self, shape: Shape) -> StoredLayer:
        return StoredLayer(shape, self.folder, self.like)


def clipped(window: Window, height: int, width: int) -> Window:
    """The part of a window that lies in the image."""
    top, bottom, left, right = window
    return Window(max(top, 0), min(bottom, height), max(left, 0), min(right, width))
