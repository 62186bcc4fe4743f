"""The cost of a translation: multiply-adds of the network; and its time, where it is so long that more than one
measurement would keep users waiting.
"""

import time

import torch
from torch import Tensor, nn

from cyclegan_dist.models.translator import Translator
from cyclegan_dist.networks.build import build_generator
from cyclegan_dist.networks.config import AnyGeneratorConfig, InitConfig

_TIMED_SIDE = 32  # pixels, of the image that is timed
SLOW_S = 1.0  # for which an image of 32 x 32 is slow: those that networks compute at once take less on any processor
SIDE = 256  # pixels, for which multiply-adds are compared


def multiply_adds(channels: tuple[int, int], config: AnyGeneratorConfig, side: int = SIDE) -> int:
    """Multiplications, each with an addition, of convolutions for one image of `side` x `side` pixels: outputs times
    weights that each is the sum of. Transposed convolutions are counted so too, as the literature does, though three
    quarters of their products are with zeros. 56.8e9 for the paper's ResNet with nine blocks at 256 px.

    Args:
        channels: of the images that the generator takes, and of those it makes.
        config: its architecture.
        side: a multiple of `config.multiple`.
    """
    found = 0

    def count(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal found
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        found += output[0].numel() * layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]

    with torch.device("meta"), torch.no_grad():  # shapes alone
        network = build_generator(*channels, config, InitConfig()).eval()
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.register_forward_hook(count)
        network(torch.empty(1, network.in_channels, side, side))
    return found


def slow_seconds_per_pixel(translator: Translator) -> float | None:
    """The time that one pixel takes, measured once on the smallest image, if that takes longer than a second: as with
    CoGAN, which optimises a latent for each image. None for others, whose cost depends on the size of the image.

    Where other processes keep the processor busy, the time that it works is nearer to the truth.
    """
    side = max(_TIMED_SIDE, translator.multiple)
    noise = torch.randint(0, 256, (translator.in_channels, side, side), dtype=torch.uint8)
    began, worked = time.perf_counter(), time.process_time()
    translator.translate_batch([noise])
    elapsed = time.perf_counter() - began
    if translator.device.type == "cpu":
        elapsed = min(elapsed, time.process_time() - worked)
    return elapsed / side**2 if elapsed > SLOW_S else None
