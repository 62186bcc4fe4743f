"""What the rest of a run takes, estimated from its first steps: time, memory, storage and cost."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import pipeline_command
from cyclegan_dist.step.graph import WARM_UP
from cyclegan_dist.step.update import Step
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import Journal
from cyclegan_dist.tracking.quantities import duration
from cyclegan_dist.training.hooks.progress import Progress

SLOW_S = 1.0  # for a first step that is reported at once
LEAST_S = 0.5  # to measure, unless losses are recorded before
TOO_LONG_S = 7 * 86_400.0
DAY_S = 86_400.0
LAPTOP = "laptop"  # the preset that is advised on processors


class Estimate:
    """Measures the first steps of an attempt, records one `estimate` in the journal, and does nothing from then on. On
    rank 0 only. It precedes the hook that records losses, so that the estimate comes first.

    On a CPU the first step, which allocates and chooses kernels, is not measured. On a GPU those are not in which
    `optim.fast` records its graph, and each of the few steps waits for the device.

    Args:
        config: of the run.
        step: whose device, networks and moments are measured.
        journal: for the estimate and its warnings.
    """

    def __init__(self, config: Config, step: Step, journal: Journal):
        self.config, self.step, self.journal, self.world = config, step, journal, step.world
        on_gpu = self.world.device.type == "cuda"
        self._skip, self._count = (WARM_UP + 1, 5) if on_gpu else (1, 1)
        self._steps, self._seconds, self._done = 0, 0.0, False

    def __call__(self, at: Progress) -> None:
        if self._done:
            return
        step_s = at.step_s + self._wait()
        self._steps += 1
        if self._steps == 1 and step_s >= SLOW_S:
            self.journal.message(f"the first step took {duration(step_s)}; an estimate for the whole run follows")
        if self._steps <= self._skip:
            return
        self._seconds += step_s
        measured = self._steps - self._skip
        if measured >= self._count and (self._seconds >= LEAST_S or at.due(self.config.every.log)):
            self._done = True
            self._record(at, measured * at.batch_size / max(self._seconds, 1e-9))

    def end(self, at: Progress) -> None:
        """Nothing to do."""

    def _wait(self) -> float:
        """Wait for the device. Returns the seconds."""
        if self.world.device.type != "cuda":
            return 0.0
        started = time.monotonic()
        torch.cuda.synchronize(self.world.device)
        return time.monotonic() - started

    def _record(self, at: Progress, rate: float) -> None:
        config, left = self.config, max(0, at.total - at.nimg)
        seconds = left / rate
        values = {"images_per_s": rate, "seconds": seconds, "log_s": config.every.log / rate}
        values |= memory(self.world.device) | storage(config, self.step, at.total)
        if config.world.price:
            values["cost"] = seconds / 3600 * config.world.price * self.world.size
        self.journal.write("estimate", step=at.step, nimg=at.nimg, values=values)
        if seconds > TOO_LONG_S:
            advice = too_long(self.world.device.type, at.nimg + at.batch_size * round(DAY_S * rate / at.batch_size))
            self.journal.message(f"warning: {duration(seconds)} to the end at this speed: {advice}")


def too_long(device: str, nimg: int) -> str:
    """What to do about a training that takes more than a week.

    Args:
        device: `cpu` or `cuda`.
        nimg: images after a day.
    """
    day = f"stop it with Ctrl-C, or train for about a day with --stop_after {max(1, nimg)} and decide then"
    if device == "cpu":
        return f"train a smaller one, such as PRESET+{LAPTOP}, or on a GPU; {day}"
    more = f"--optim.precision bf16 is faster, and so are more GPUs with a larger batch ({pipeline_command('plan')})"
    return f"{more}; {day}"


def memory(device: torch.device) -> dict[str, float]:
    """The most bytes that this rank has needed so far: of its GPU, with the size of that; or of main memory."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        return {"memory_bytes": torch.cuda.max_memory_reserved(device), "card_bytes": total}
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {}
    # Not getrusage, whose maximum includes the process that started this one.
    found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]  # in KiB
    return {"memory_bytes": 1024 * found[0]} if found else {}


def storage(config: Config, step: Step, total: int) -> dict[str, float]:
    """Bytes of a checkpoint, and of all that a run of `total` images keeps: checkpoints, snapshots and sample grids."""
    each, side = 8 if config.optim.precision == "fp64" else 4, config.data.crop_size
    channels = config.method.channels
    history = sum(count * side**2 * channels[domain] for domain, count in config.method.stored_images.items())
    checkpoint = tensor_bytes(step.state_dict()) + step.world.size * each * history
    snapshot = sum(tensor_bytes(network.state_dict()) for network in step.translators.values())
    grid = max((path.stat().st_size for path in RunFolder(config.run_dir).samples.glob("*.png")), default=0)
    kept = checkpoint * min(config.keep_checkpoints + config.keep_best, times(config.every.checkpoint, total))
    kept += snapshot * times(config.every.snapshot, total) + grid * (1 + times(config.every.samples, total))
    return {"checkpoint_bytes": checkpoint, "kept_bytes": kept}


def times(every: int, total: int) -> int:
    """How often something is written that is due every so many images, and at the end."""
    return -(-total // every) if every else 1


def tensor_bytes(tree: Any) -> int:
    """Bytes of all tensors in nested mappings and sequences."""
    if isinstance(tree, Tensor):
        return tree.nbytes
    children = tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, list | tuple) else ()
    return sum(tensor_bytes(child) for child in children)
