"""The choice of `optim.precision auto`."""

from pathlib import Path

import torch

# Flags of x86 processors. Without these instructions bf16 is emulated, at a tenth of the speed of fp32.
X86 = {"avx512_bf16", "amx_bf16"}
AMPERE = (8, 0)  # compute capability of the first GPUs with bf16


def has_bf16(device: torch.device) -> bool:
    """Whether `device` has instructions for bf16."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= AMPERE
    processor = Path("/proc/cpuinfo")
    return processor.exists() and not X86.isdisjoint(processor.read_text().split())
