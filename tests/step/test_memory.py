import pytest
import torch

from cyclegan_dist.step.memory import OutOfMemoryError, memory_errors


@pytest.mark.parametrize(
    ("images", "lower"), [(8, "lower optim.micro_batch"), (1, "lower data.crop_size or method.generator.ngf")]
)
def test_the_message_has_rank_and_step_and_the_option_to_lower(images: int, lower: str) -> None:
    with (
        pytest.raises(
            OutOfMemoryError, match=rf"rank 1, step 7: out of memory with {images} images .* 64 x 64"
        ) as raised,
        memory_errors("rank 1, step 7", images=images, size=64),
    ):
        torch.empty(1 << 50)
    assert lower in str(raised.value)
    assert "alloc_cpu.cpp" not in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB"),
        RuntimeError("could not create a primitive"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
        MemoryError(),
    ],
)
def test_messages_of_every_allocator_are_recognised(error: Exception) -> None:
    with (
        pytest.raises(OutOfMemoryError, match=r"\((CUDA|could not|MemoryError).*\): lower"),
        memory_errors("", images=1, size=1),
    ):
        raise error


def test_an_error_that_follows_is_not_reported_instead() -> None:
    with (
        pytest.raises(OutOfMemoryError, match=r"\(CUDA out of memory\): lower"),
        memory_errors("", images=1, size=1),
    ):
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")


def test_other_errors_are_not_converted() -> None:
    with pytest.raises(RuntimeError, match="shapes") as raised, memory_errors("", images=1, size=1):
        raise RuntimeError("shapes do not fit")
    assert not isinstance(raised.value, OutOfMemoryError)
