"""The whole update as one CUDA graph: recorded once, then replayed with new images.

A step of CycleGAN launches about 2,000 kernels; at batch 1, launching them takes longer than running them. A graph
launches them as one. While it is recorded nothing may ask the device for a value, all tensors keep their addresses, and
numbers of the host become constants; `Step` takes care of that (learning rate as a tensor, choices of the history as
inputs, `FiniteFlag`). What only the host can do in the middle of an update ends one graph, and another follows.

On a CPU, and for the first updates on a GPU, the same code runs from the same static buffers without recording.
"""

import gc
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from cyclegan_dist.methods.contract import Images

WARM_UP = 4  # updates before recording: they create moments and choose cuDNN's algorithms
AHEAD = 2  # updates that the host may be ahead of the device, so that its clock measures updates

HostAction = Callable[[], None]
Update = Callable[[list[Images], dict[str, Tensor]], Generator[HostAction]]
"""An update of static images that fills a dictionary of losses, and yields what the host has to do in between."""


class Recording(Protocol):
    """A piece of work that can be recorded once and replayed: a CUDA graph."""

    def recording(self) -> AbstractContextManager[None]: ...

    def replay(self) -> None: ...


class CudaRecording:
    """A CUDA graph. All graphs of an update share one pool of memory, because they run one after the other."""

    def __init__(self, stream: torch.cuda.Stream, pool: Any):
        self._graph, self._stream, self._pool = torch.cuda.CUDAGraph(), stream, pool

    @contextmanager
    def recording(self) -> Generator[None]:
        # Earlier steps are reference cycles; CUDA may refuse to destroy their graphs while it records.
        gc.collect()
        # torch.cuda.graph does not leave the stream if a recording fails. Other threads, such as the one that pins
        # batches, may use CUDA meanwhile.
        graph = torch.cuda.graph(self._graph, self._pool, self._stream, capture_error_mode="thread_local")
        with torch.cuda.stream(self._stream), graph:
            yield

    def replay(self) -> None:
        self._graph.replay()


def recordings(stream: torch.cuda.Stream | None) -> Callable[[], Recording] | None:
    """Makes the recordings of an update on `stream`; None on a CPU, where nothing is recorded."""
    if stream is None:
        return None
    pool = torch.cuda.graph_pool_handle()
    return lambda: CudaRecording(stream, pool)


class GraphedUpdate:
    """Runs an update on `device` from static buffers, and records it after the warm-up."""

    def __init__(self, update: Update, device: torch.device):
        self._update, self._device = update, device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._new_recording = recordings(self._stream)
        self._inputs: list[Images] = []
        self._losses: dict[str, Tensor] = {}
        self._pieces: list[tuple[Recording, HostAction | None]] = []
        self._updates = 0
        self._unfinished: list[torch.cuda.Event] = []

    def fits(self, images: Sequence[Images]) -> bool:
        """Whether the static buffers have the shapes of these micro-batches."""
        if not self._inputs:
            return True
        same = [
            static[name].shape == image.shape
            for static, one in zip(self._inputs, images, strict=False)
            for name, image in one.items()
        ]
        return len(images) == len(self._inputs) and all(same)

    def __call__(self, images: Sequence[Images]) -> dict[str, Tensor]:
        """Update once. Returns the losses, detached scalars on the device."""
        for one in images[len(self._inputs) :]:
            self._inputs.append({name: torch.empty_like(x, device=self._device) for name, x in one.items()})
        for static, one in zip(self._inputs, images, strict=True):
            for name, image in one.items():
                static[name].copy_(image, non_blocking=True)
        if self._new_recording is None or self._updates < WARM_UP:
            self._run()
        else:
            if not self._pieces:
                self._record(self._new_recording)
            for recording, action in self._pieces:
                recording.replay()
                if action is not None:
                    action()
        self._updates += 1
        self._wait_for_earlier_updates()
        copies = torch.stack(list(self._losses.values())).unbind()  # the next update overwrites the originals
        return dict(zip(self._losses, copies, strict=True))

    def _run(self) -> None:
        """Update without a recording; on a GPU on the stream that will record."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            self._losses = {}
            for action in self._update([dict(one) for one in self._inputs], self._losses):
                action()
        if self._stream is not None:
            torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def _record(self, new_recording: Callable[[], Recording]) -> None:
        self._losses = {}
        run = self._update([dict(one) for one in self._inputs], self._losses)
        action: HostAction | None = None
        while not self._pieces or action is not None:
            recording = new_recording()
            with recording.recording():
                action = next(run, None)
            self._pieces.append((recording, action))

    def _wait_for_earlier_updates(self) -> None:
        if self._device.type != "cuda":
            return
        event = torch.cuda.Event()
        event.record()
        self._unfinished.append(event)
        if len(self._unfinished) > AHEAD:
            self._unfinished.pop(0).synchronize()
