"""A step that needs more memory than there is, told so that a user can mend it."""

from collections.abc import Generator
from contextlib import contextmanager

import torch

SHORTAGES = (  # in the words of torch's allocator on the CPU, oneDNN, CUDA, cuBLAS
    "can't allocate memory",
    "could not create a primitive",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


class OutOfMemoryError(RuntimeError):
    """A rank has not the memory that its share of a step needs. Started again it would end the same way."""


@contextmanager
def memory_errors(where: str, *, images: int, size: int) -> Generator[None]:
    """Raise what tells of a shortage in here as `OutOfMemoryError`: torch's own for a GPU, plain RuntimeErrors of the
    CPU and of libraries, Python's MemoryError.

    Args:
        where: rank and step, for the message.
        images: per domain that the rank computes at once.
        size: pixels of their sides.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_shortage(error):
            raise
        less = "optim.micro_batch, which changes no result" if images > 1 else "data.crop_size or method.generator.ngf"
        raise OutOfMemoryError(
            f"{where}: out of memory with {images} images of each domain, {size} x {size} pixels, at once "
            f"({_first_line(error)}): lower {less}, or try optim.precision bf16"
        ) from None


def _is_shortage(error: BaseException) -> bool:
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or any(words in str(error) for words in SHORTAGES)


def _first_line(error: BaseException) -> str:
    """Without the place in torch's source that it begins with on the CPU."""
    text = str(error).partition("\n")[0] or type(error).__name__
    return text.rpartition("DefaultCPUAllocator: ")[2]
