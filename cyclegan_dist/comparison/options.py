"""The command line of a comparison. Does not import torch, so that `--help` answers quickly."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.step.world_config import Device

Which = Literal["newest", "best"]


@dataclass(frozen=True)
class Compare:
    """Compare runs: configurations, curves, and figures of the same images."""

    sources: tyro.conf.Positional[tuple[str, ...]]
    """Two or more folders of runs or snapshots, or models:/NAME@ALIAS. The others are compared with the first."""
    data: str = ""
    """Data set of images that were not trained on, folder or fsspec URL: all are evaluated on it. Empty: only
    configurations and curves are compared."""
    split: str = ""
    """Its part of that name, a data set in a folder of it: test."""
    snapshot: Which = "newest"
    """Snapshot of a run that is evaluated: the newest, or the best by its evaluations during training (best.json)."""
    out: Path = Path("comparison")
    """Folder for the page, its pictures and comparison.json."""
    json: bool = False
    """Print everything as one JSON object instead of tables."""
    device: Device = "auto"
    """cpu or cuda; auto takes a GPU if there is one."""
    what: Annotated[EvaluationConfig, tyro.conf.arg(name="")] = field(default_factory=EvaluationConfig)
    """What is measured."""
