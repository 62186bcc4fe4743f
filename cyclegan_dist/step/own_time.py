"""The time that a rank computes in an update, without its waits for other ranks.

All ranks take equally long for an update, because each waits for the slowest; only this shows which that is.
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.hooks import RemovableHandle

from cyclegan_dist.step.distributed import World

EVERY = 8  # updates, of which one is measured

Mark = float | torch.cuda.Event
"""A point in time: seconds of the host's clock, or an event of the GPU."""


class OwnTime:
    """Measures updates of one rank, unless it is the only one. Each begins with `begin` and ends with `end`; between
    `pause` and `resume` this rank waits for others.

    On a GPU the marks are events, which a CUDA graph contains too; nothing waits for them, and `take` reads those of
    the newest update.
    """

    def __init__(self, world: World):
        self._on_gpu = world.device.type == "cuda"
        self._alone = world.size == 1
        self._updates, self._measures, self._recorded = 0, False, False
        self._marks: list[Mark] = []  # beginnings and ends of computing in turn
        self._sum_s, self._count = 0.0, 0

    def begin(self) -> None:
        """An update begins. One of `EVERY` is measured, and one that is being recorded as a graph always."""
        self._updates += 1
        self._recorded = self._on_gpu and torch.cuda.is_current_stream_capturing()
        # Of AMD's graphs events cannot be part.
        self._measures = not self._alone and (
            torch.version.hip is None if self._recorded else self._updates % EVERY == 0
        )
        if self._measures or self._recorded:
            self._marks = []
        self._mark()

    def pause(self) -> None:
        """What follows waits for other ranks."""
        self._mark()

    def resume(self) -> None:
        """This rank computes again."""
        self._mark()

    def end(self) -> None:
        """The update ends."""
        self._mark()
        if self._measures and not self._on_gpu:
            self._sum_s, self._count = self._sum_s + self._between(), self._count + 1
        self._measures = False

    @contextmanager
    def waits_at_the_end(self, module: nn.Module) -> Generator[None]:
        """Context of a backward, at whose end DistributedDataParallel waits for other ranks."""
        if not (self._measures and isinstance(module, DistributedDataParallel) and module.require_backward_grad_sync):
            yield
            return
        before = len(self._marks)

        def pause_again(_: Tensor) -> None:
            del self._marks[before:]  # only the last gradient counts, whichever that is
            self.pause()

        # Unlike hooks of the gradients themselves, these keep none alive.
        hooks: list[RemovableHandle] = []
        for parameter in module.parameters():
            if parameter.requires_grad:
                register: Callable[..., RemovableHandle] = parameter.register_post_accumulate_grad_hook  # pyright: ignore
                hooks.append(register(pause_again))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
        if len(self._marks) > before:
            self.resume()

    def take(self) -> float:
        """Mean seconds of an update since the last call: on a GPU of the newest one that was measured and has ended. 0
        if there is none.
        """
        if self._on_gpu:
            ended = all(isinstance(mark, torch.cuda.Event) and mark.query() for mark in self._marks)
            return self._between() if self._marks and ended else 0.0
        mean_s = self._sum_s / self._count if self._count else 0.0
        self._sum_s, self._count = 0.0, 0
        return mean_s

    def _mark(self) -> None:
        if not self._measures:
            return
        if not self._on_gpu:
            self._marks.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True, external=self._recorded)
        event.record()
        self._marks.append(event)

    def _between(self) -> float:
        """Seconds of computing."""
        return sum(_seconds(begin, end) for begin, end in zip(self._marks[::2], self._marks[1::2], strict=True))


def _seconds(begin: Mark, end: Mark) -> float:
    if isinstance(begin, torch.cuda.Event):
        assert isinstance(end, torch.cuda.Event)
        return begin.elapsed_time(end) / 1000
    assert isinstance(end, float)
    return end - begin
