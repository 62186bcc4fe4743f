from pathlib import Path
from unittest import mock

import pytest
import torch

from cyclegan_dist.step import precision
from cyclegan_dist.step.precision import has_bf16

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx512f avx512_bf16 sse", True), ("fpu amx_tile amx_bf16", True), ("fpu avx2 avx512f avx512bw", False)],
)
def test_a_processor_is_asked_for_its_instructions(tmp_path: Path, flags: str, expected: bool) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\nmodel name\t: avx512_bf16_like\nflags\t\t: {flags}\n")
    with mock.patch.object(precision, "Path", return_value=info):
        assert has_bf16(CPU) is expected


def test_an_unknown_processor_has_none(tmp_path: Path) -> None:
    with mock.patch.object(precision, "Path", return_value=tmp_path / "absent"):
        assert not has_bf16(CPU)


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_a_gpu_is_asked_for_its_generation(capability: tuple[int, int], expected: bool) -> None:
    with mock.patch.object(torch.cuda, "get_device_capability", return_value=capability):
        assert has_bf16(torch.device("cuda", 0)) is expected
