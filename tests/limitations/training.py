"""Tiny networks trained on the drawn data sets, in this process."""

from pathlib import Path

import torch

from cyclegan_dist.config.config import check_config
from cyclegan_dist.orchestration.plugins import PLUGINS
from cyclegan_dist.step.distributed import World
from cyclegan_dist.training.run_folder import open_run
from cyclegan_dist.training.stop import StopRequest
from cyclegan_dist.training.trainer import train

ALONE = World(0, 1, torch.device("cpu"))


def trained(data: Path, name: str, seed: int, *, identity: float, epochs: int, runs: Path) -> Path:
    """The folder of a finished run: CycleGAN with the networks of the preset `streets`."""
    tree = {
        "name": name,
        "seed": seed,
        "runs_dir": str(runs),
        "method": {
            "lambda_identity": identity,
            "generator": {"ngf": 8, "n_blocks": 3},
            "discriminator": {"ndf": 16, "n_layers_D": 2},
        },
        "data": {"path": str(data), "preprocess": "none", "load_size": 32, "crop_size": 32, "workers": 0},
        "optim": {"batch_size": 4, "lr": 1.0e-3},
        "schedule": {"n_epochs": epochs - epochs // 2, "n_epochs_decay": epochs // 2},
        "every": {"log": 400, "samples": 0, "checkpoint": 0, "snapshot": 800},
        "tracking": {"mlflow": False},
        "world": {"device": "cpu"},
    }
    config = open_run(check_config(tree, name))
    train(config, ALONE, StopRequest(config.run_dir, ALONE), PLUGINS)
    return config.run_dir
