"""Snapshots of small generators with drawn weights, for methods that learn from one."""

from pathlib import Path
from typing import Any

import torch

from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.models.snapshot import Snapshot, save_snapshot
from cyclegan_dist.networks.build import build_generator
from cyclegan_dist.networks.config import GeneratorConfig, InitConfig


def write_teacher(folder: Path, directions: tuple[str, ...] = ("AB", "BA"), **facts: Any) -> Snapshot:
    """Generators of eight channels with one block, the same each time."""
    config = CycleGANConfig(generator=GeneratorConfig(ngf=8, n_blocks=1))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        made = {way: build_generator(3, 3, config.generator, InitConfig(gain=0.2)) for way in directions}
    save_snapshot(folder, made, config, {"nimg": 1, "run": "teacher", "step": 1, **facts})
    return Snapshot.open(folder)


def needed_options(method: str, folder: Path) -> dict[str, Any]:
    """What a method needs besides its defaults: of distillation a teacher, and its discriminators are switched on."""
    if method != "distill":
        return {}
    teacher = write_teacher(folder / "teacher")
    return {"teacher": str(teacher.folder), "teacher_sha256": teacher.digest(), "lambda_GAN": 1.0}
