"""Twenty steps of each method on drawn images: a refactoring leaves these losses untouched.

`python -m tests.methods.test_golden NAME` writes the file of a new method, or of one whose numbers change on purpose.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

from cyclegan_dist.methods.available import METHODS
from cyclegan_dist.networks.config import DiscriminatorConfig
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.update import Step
from tests.methods.teachers import needed_options
from tests.methods.test_available import small_generator

FOLDER = Path(__file__).parent / "golden"
STEPS, SIDE = 20, 32


def losses(name: str, folder: Path) -> list[dict[str, float]]:
    """The losses of each step, in double precision, with small networks, dropout and a history that fills up."""
    torch.manual_seed(0)
    small = {
        "generator": small_generator(name, dropout=True),
        "discriminator": DiscriminatorConfig(ndf=4, n_layers_D=2),
    }
    config = METHODS[name](**small, **needed_options(name, folder))  # pyright: ignore[reportCallIssue] - all methods have these two
    smaller = {"pool_size": 3, "features_size": SIDE, "nce_patches": 16}
    config = replace(config, **{key: value for key, value in smaller.items() if hasattr(config, key)})
    step = Step(config.build(rank_seed=1), OptimConfig(precision="fp64"), World(0, 1, torch.device("cpu")))
    images = torch.Generator().manual_seed(1)
    found = []
    for number in range(STEPS):
        real = torch.rand(2, 2, 3, SIDE, SIDE, dtype=torch.float64, generator=images) * 2 - 1
        torch.manual_seed(number)
        values = step([{"real_A": real[0], "real_B": real[1]}], lr=2e-4, seed=number)
        found.append({key: float(value) for key, value in values.items()})
    return found


@pytest.mark.parametrize("name", METHODS)
def test_losses_are_unchanged(name: str, tmp_path: Path) -> None:
    stored = json.loads((FOLDER / f"{name}.json").read_text())
    for number, (now, before) in enumerate(zip(losses(name, tmp_path), stored, strict=True)):
        assert now == pytest.approx(before, rel=1e-9), f"step {number + 1}"


if __name__ == "__main__":
    with TemporaryDirectory() as temporary:
        rows = ",\n".join(json.dumps(row) for row in losses(sys.argv[1], Path(temporary)))
    (FOLDER / f"{sys.argv[1]}.json").write_text(f"[\n{rows}\n]\n")
