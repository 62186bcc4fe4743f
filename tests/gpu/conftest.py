"""Fixtures of the tests for a GPU, of which some also run on a CPU, where `optim.fast on` runs the same code without a
CUDA graph.
"""

import os

# cuBLAS reads it when it is first used; without it, deterministic algorithms are refused.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

from collections.abc import Iterator

import pytest
import torch


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse `-m gpu` without a GPU in one line, where each test would fail."""
    if session.items and not torch.cuda.is_available() and all(i.get_closest_marker("gpu") for i in session.items):
        raise pytest.UsageError("tests marked gpu need a GPU that torch can use")


def _found(kind: str) -> torch.device:
    if kind == "cuda":
        assert torch.cuda.is_available(), "this test needs a GPU that torch can use"
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """A GPU in tests marked `gpu`, a CPU in others."""
    return _found(request.param)


@pytest.fixture
def gpu() -> torch.device:
    """For a test that has the mark `gpu` itself."""
    return _found("cuda")


@pytest.fixture(autouse=True)
def exact_arithmetic() -> Iterator[None]:
    """Convolutions in fp32, not TF32; and cuDNN's choices are those of one test."""
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.benchmark
    cudnn.allow_tf32 = False
    yield
    cudnn.allow_tf32, cudnn.benchmark = before


@pytest.fixture
def deterministic() -> Iterator[None]:
    """Kernels that give the same bits in each run; those that cannot are errors."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
