"""A sweep over the tiny config."""

import dataclasses
from pathlib import Path
from typing import Any

from cyclegan_dist.config.config import Config, dump_config
from cyclegan_dist.sweep.spec import SweepConfig, Values


def tiny_sweep(config: Config, **changes: Any) -> SweepConfig:
    """Four draws of lambda_cycle on an opened run's config, which becomes the base."""
    base = Path(config.runs_dir).parent / "base.yaml"
    base.write_text(dump_config(dataclasses.replace(config, name="base")))
    space = {"method.lambda_cycle_A,method.lambda_cycle_B": Values(uniform=(1, 20))}
    given = {"name": "swept", "base": str(base), "space": space, "num_trials": 4, "scheduler": "none", **changes}
    return SweepConfig(**given)
