"""The duration of translations, where it is so long that more than one measurement would keep users waiting."""

import time

import torch

from cyclegan_dist.models.translator import Translator

_SIDE = 32  # pixels
SLOW_S = 1.0  # for which an image of 32 x 32 is slow: those that networks compute at once take less on any processor


def slow_seconds_per_pixel(translator: Translator) -> float | None:
    """The time that one pixel takes, measured once on the smallest image, if that takes longer than a second: as with
    CoGAN, which optimises a latent for each image. None for others, whose cost depends on the size of the image.

    Where other processes keep the processor busy, the time that it works is nearer to the truth.
    """
    side = max(_SIDE, translator.multiple)
    noise = torch.randint(0, 256, (translator.in_channels, side, side), dtype=torch.uint8)
    began, worked = time.perf_counter(), time.process_time()
    translator.translate_batch([noise])
    elapsed = time.perf_counter() - began
    if translator.device.type == "cpu":
        elapsed = min(elapsed, time.process_time() - worked)
    return elapsed / side**2 if elapsed > SLOW_S else None


def duration(seconds: float) -> str:
    """As text for people, with two digits: 40 s, 12 min, 1.5 h."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.{int(seconds < 10 * length)}f} {unit}"
    return f"{seconds:.{int(seconds < 10)}f} s"
