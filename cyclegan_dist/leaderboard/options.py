"""The command line of the leaderboard. Does not import torch, so that `--help` answers quickly."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.networks.pretrained import PACKAGED
from cyclegan_dist.step.world_config import Device


@dataclass(frozen=True)
class Leaderboard:
    """Measure runs and snapshots by one protocol."""

    sources: tyro.conf.Positional[tuple[str, ...]]
    """Folders of runs or snapshots, and models:/NAME@ALIAS."""
    data: str
    """Data set with parts `test`, which is measured on, and `val`, by which one snapshot of each run is chosen."""
    split: str = "test"
    """Its part that is measured on, not `val`. Empty: the data set itself."""
    choose_by: str = ""
    """Figure without its direction whose lowest mean over directions, on the validation images, chooses a snapshot.
    Default: the kernel distance of the first of `features` that took no part in the training of any source."""
    out: Path = Path("leaderboard.md")
    """File for the page; the same name with .json has all figures."""
    device: Device = "auto"
    """cpu or cuda; auto takes a GPU if there is one."""
    what: Annotated[EvaluationConfig, tyro.conf.arg(name="")] = field(
        default_factory=lambda: EvaluationConfig(
            metrics=("distances", "cycle", "identity", "content"), features=PACKAGED, batch_size=8
        )
    )
    """What is measured."""
