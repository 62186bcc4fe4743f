"""The device of a translator, from what a user gives."""

import torch

from cyclegan_dist.errors import UsageError
from cyclegan_dist.step.world_config import MPS, NO_MPS


def usable(device: torch.device | str) -> torch.device:
    """The device; `auto` is a GPU of CUDA if there is one, else the CPU.

    Raises:
        UsageError: if it cannot be used here, or is an Apple GPU.
    """
    if str(device).partition(":")[0] == MPS:
        raise UsageError(f"device {device} cannot be used: {NO_MPS}")
    if isinstance(device, torch.device):
        return device
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {device} cannot be used here: {str(error).splitlines()[0]}") from error
