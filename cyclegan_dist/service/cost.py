"""Estimated duration of translations, and the limits that follow from a deadline."""

import math
import time
from collections.abc import Sequence

import torch

from cyclegan_dist.models.cost import slow_seconds_per_pixel
from cyclegan_dist.service.handler import DecodedRequest, RequestHandler
from cyclegan_dist.service.messages import Refusal, TranslationRequest

_SIDES = (128, 256, 512, 1024)  # pixels of the images that are timed
_TELLING_PIXELS = 1 << 16  # of a batch with a duration that shows that larger ones are slow, too
_LONG_ENOUGH_S = 0.02  # for overheads of a request to matter little, also on a GPU


def seconds_per_pixel(handler: RequestHandler) -> float:
    """The time that one pixel takes on this device, network and encoding together, measured on noise: once for slow
    models, several times for others.
    """
    direction = next(iter(handler.translators))
    slow = slow_seconds_per_pixel(handler.translators[direction])
    if slow is not None:
        return slow
    request = TranslationRequest(data=b"", direction=direction)
    elapsed, pixels = 0.0, 1
    for side in _SIDES:
        noise = torch.randint(0, 256, (handler.translators[direction].in_channels, side, side), dtype=torch.uint8)
        work = DecodedRequest(pixels=noise, direction=direction, reconstruction=False)
        attempts: list[float] = []
        for _ in range(2):  # the first one allocates memory and, on a GPU, chooses algorithms
            began = time.perf_counter()
            handler.encode(handler.translate([work])[0], request)
            attempts.append(time.perf_counter() - began)
        if handler.device.type == "cpu":
            # Where other processes keep the cores busy, the time that one core works is nearer to the truth.
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            began = time.thread_time()
            handler.encode(handler.translate([work])[0], request)
            attempts.append(time.thread_time() - began)
            torch.set_num_threads(threads)
        elapsed, pixels = min(attempts), side * side
        if elapsed >= _LONG_ENOUGH_S:
            break
    return elapsed / pixels


class Backlog:
    """Admitted translations of one device, which computes one batch after the other, by their estimated durations.
    The estimate follows the durations of computed batches, and so the load of the machine.

    Args:
        seconds_per_pixel: of a translation.
        limit_s: estimated seconds within which an admitted request must be answered.
    """

    def __init__(self, seconds_per_pixel: float, limit_s: float):
        self._per_pixel, self._limit_s = seconds_per_pixel, limit_s
        self._admitted: dict[int, int] = {}  # pixels
        self._running: set[int] = set()

    def expect(self, seconds_per_pixel: float) -> None:
        """Estimate by another network from here on."""
        self._per_pixel = seconds_per_pixel

    def max_pixels(self, reconstruction: bool = False) -> int:
        """Pixels of the largest image that takes no longer than the limit."""
        return int(self._limit_s / self._per_pixel / (2 if reconstruction else 1))

    def refuse_slow(self, width: int, height: int, reconstruction: bool) -> None:
        """Raise Refusal, with the largest size, for an image that takes longer than the limit."""
        most = self.max_pixels(reconstruction)
        if width * height <= most:
            return
        seconds = width * height * self._limit_s / most
        scale = math.sqrt(most / (width * height))
        fitting = f"{max(1, int(width * scale))}x{max(1, int(height * scale))}"
        raise Refusal(
            413,
            f"{width}x{height} would take about {seconds:.0f} seconds, and the limit is {self._limit_s:g}: "
            f"reduce the image to at most {most:,} pixels, such as {fitting}",
        )

    def admit(self, request: DecodedRequest) -> None:
        """Count a request until it is finished. Raises Refusal if those before it leave too little time."""
        height, width = request.pixels.shape[1:]
        self.refuse_slow(width, height, request.reconstruction)
        pixels = width * height * (2 if request.reconstruction else 1)
        excess = (sum(self._admitted.values()) + pixels) * self._per_pixel - self._limit_s
        if excess > 0 and self._admitted:
            raise Refusal(503, "too much work is waiting: try again later", retry_after=math.ceil(excess))
        self._admitted[id(request)] = pixels

    def start(self, batch: Sequence[DecodedRequest]) -> None:
        """Note that these are being computed, which no one can interrupt."""
        self._running |= {id(request) for request in batch}

    def finish(self, batch: Sequence[DecodedRequest], seconds: float = 0) -> None:
        """Stop counting these. If they have been computed together, `seconds` is how long that took."""
        pixels = sum(self._admitted.get(id(request), 0) for request in batch)
        if seconds and pixels and (seconds / pixels < self._per_pixel or pixels >= _TELLING_PIXELS):
            # Bounded: after one long pause of the machine all images would be refused, and nothing measured any more.
            self._per_pixel = (self._per_pixel + min(seconds / pixels, 2 * self._per_pixel)) / 2
        for request in batch:
            self._running.discard(id(request))
            self._admitted.pop(id(request), None)

    def withdraw(self, request: DecodedRequest) -> None:
        """Stop counting a request that no one waits for, unless it is being computed already."""
        if id(request) not in self._running:
            self.finish([request])
