"""The name of the card or processor that computes."""

import platform
from pathlib import Path

import torch


def device_name(device: torch.device) -> str:
    """For people, and to compare timings of one machine only: `NVIDIA H200`, or the model name of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
