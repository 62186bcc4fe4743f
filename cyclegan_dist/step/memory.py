"""Out-of-memory errors of a step, with a message that suggests a fix."""

from collections.abc import Generator
from contextlib import contextmanager

import torch

SHORTAGES = (  # messages of torch's CPU allocator, oneDNN, CUDA and cuBLAS
    "can't allocate memory",
    "could not create a primitive",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
SMALLER = "data.crop_size or method.generator.ngf"


class OutOfMemoryError(RuntimeError):
    """A rank does not have enough memory for its share of a step or for samples. A restart would end the same way."""


@contextmanager
def memory_errors(where: str, *, images: int, size: int, less: str = "") -> Generator[None]:
    """Convert errors about missing memory to `OutOfMemoryError`: torch's own for a GPU, RuntimeErrors of the CPU and of
    libraries, Python's MemoryError.

    Args:
        where: rank and step, for the message.
        images: images per domain that the rank computes at once.
        size: side of the images in pixels.
        less: options to lower, if not those of a step.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        shortage = _shortage(error)
        if shortage is None:
            raise
        of_step = "optim.micro_batch, which changes no result" if images > 1 else SMALLER
        raise OutOfMemoryError(
            f"{where}: out of memory with {images} images of each domain, {size} x {size} pixels, at once "
            f"({_first_line(shortage)}): lower {less or of_step}, or try optim.precision bf16"
        ) from None


def _shortage(error: BaseException | None) -> BaseException | None:
    """The error about missing memory: this one, or one that it was raised after. CUDA reports the end of a recording
    that another error has interrupted as an error of its own.
    """
    while error is not None:
        known = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if known or any(words in str(error) for words in SHORTAGES):
            return error
        error = error.__context__
    return None


def _first_line(error: BaseException) -> str:
    """The first line of the message, without the position in torch's source that CPU errors start with."""
    text = str(error).partition("\n")[0] or type(error).__name__
    return text.rpartition("DefaultCPUAllocator: ")[2]
