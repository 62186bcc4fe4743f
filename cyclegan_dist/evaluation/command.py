"""The command line of an evaluation. Free of torch, so that `--help` answers quickly."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.networks.bounds import Ge
from cyclegan_dist.step.world_config import Device


@dataclass(frozen=True)
class Evaluate:
    """Measure how good generators are."""

    source: tyro.conf.Positional[str]
    """Folder of a run or snapshot, or models:/NAME@ALIAS."""
    data: str
    """Data set of images that were not trained on: folder or fsspec URL."""
    split: str = ""
    """Its part of that name, a data set in a folder of it: test."""
    out: Path | None = None
    """Folder for metrics.json and the page. Default: evaluations/ in the run's folder, or `evaluation`, with palette
    and segmenter in the name if there are any."""
    mlflow: bool = True
    """Add the figures to the run in MLflow, if SOURCE is a run that is there."""
    device: Device = "auto"
    """cpu or cuda; auto takes a GPU if there is one."""
    limit_s: Annotated[float, Ge(0)] = 0.0
    """Seconds that it may take: a model as slow as CoGAN is refused if all its translations are estimated to take
    longer. 0: no limit."""
    what: Annotated[EvaluationConfig, tyro.conf.arg(name="")] = field(default_factory=EvaluationConfig)
    """What is measured."""
