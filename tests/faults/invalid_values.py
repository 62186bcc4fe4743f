"""Drill G27: numbers that are not finite, in the config and in weights, and YAML that is not UTF-8."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from cyclegan_dist.config.config import Config, check_config, load_config
from cyclegan_dist.config.yaml_tree import flatten
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.sweep.spec import load_sweep
from cyclegan_dist.training.run_folder import read_config
from tests.faults.matrix import Measured, Stage, row
from tests.training.trainings import go


def refused(work: Callable[[], Any]) -> bool:
    """Whether it ends with one line."""
    try:
        work()
    except UsageError as error:
        return "\n" not in str(error)
    return False


@row(
    "G27",
    "a number of the config is infinite or not a number; a snapshot has such a weight; YAML is not UTF-8",
    "refused in one line",
)
def not_finite(stage: Stage) -> Measured:
    floats = [key for key, value in flatten(dataclasses.asdict(Config())).items() if isinstance(value, float)]
    values = (math.inf, -math.inf, math.nan, "1e999")
    refusals = 0
    for key in floats:
        for value in values:
            tree: Any = value
            for part in reversed(key.split(".")):
                tree = {part: tree}
            refusals += refused(lambda tree=tree: check_config(tree, "test"))

    config = stage.run(stop_after=8, every__snapshot=8)
    go(config)
    snapshot = Snapshot.open(config.run_dir)
    weights = load_file(snapshot.folder / "G_AB.safetensors")
    poisoned = 0
    for number, value in enumerate((math.nan, math.inf)):
        name = sorted(weights)[-1 - number]
        changed = {key: tensor.clone() for key, tensor in weights.items()}
        changed[name].view(-1)[0] = value
        save_file(changed, snapshot.folder / "G_AB.safetensors")
        poisoned += refused(lambda: snapshot.generator("AB"))
    save_file(weights, snapshot.folder / "G_AB.safetensors")
    whole = torch.isfinite(next(snapshot.generator("AB").parameters())).all()

    text = b"name: caf\xe9\n"
    file = stage.folder / "latin.yaml"
    file.write_bytes(text)
    Path(config.run_dir / "config.yaml").write_bytes(text)
    readers = (lambda: load_config(str(file)), lambda: load_sweep(str(file)), lambda: read_config(config.run_dir))
    encoded = sum(map(refused, readers))
    return Measured(
        f"{len(floats)} keys x {len(values)} values: refused {refusals}; snapshots with such a weight refused "
        f"{poisoned} of 2, without it loaded: {bool(whole)}; YAML that is not UTF-8 refused by {encoded} of "
        f"{len(readers)} readers",
        refusals == len(floats) * len(values) and poisoned == 2 and bool(whole) and encoded == len(readers),
    )
