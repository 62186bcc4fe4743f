import pytest
import torch

from cyclegan_dist.step.memory import OutOfMemoryError, memory_errors


@pytest.mark.parametrize(
    ("images", "lower"), [(8, "lower optim.micro_batch"), (1, "lower data.crop_size or method.generator.ngf")]
)
def test_a_shortage_says_where_and_what_to_lower(images: int, lower: str) -> None:
    with (
        pytest.raises(
            OutOfMemoryError, match=rf"rank 1, step 7: out of memory with {images} images .* 64 x 64"
        ) as told,
        memory_errors("rank 1, step 7", images=images, size=64),
    ):
        torch.empty(1 << 50)
    assert lower in str(told.value)
    assert "alloc_cpu.cpp" not in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB"),
        RuntimeError("could not create a primitive"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
        MemoryError(),
    ],
)
def test_every_allocator_is_understood(error: Exception) -> None:
    with (
        pytest.raises(OutOfMemoryError, match=r"\((CUDA|could not|MemoryError).*\): lower"),
        memory_errors("", images=1, size=1),
    ):
        raise error


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes") as told, memory_errors("", images=1, size=1):
        raise RuntimeError("shapes do not fit")
    assert not isinstance(told.value, OutOfMemoryError)
