"""The command's refusals and options; the drill itself is tested in tests/operations/drill."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cyclegan_dist.config.config import Config
from pipelines import drill as pipeline
from tests.conftest import Answer

RUN = """
name: tiny
data: {load_size: 20, crop_size: 16}
method: {discriminator: {n_layers_D: 1}}
optim: {batch_size: 2}
every: {checkpoint: 10}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(RUN)
    return path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give the faults to inject: --fault kill, or --random 20"),
        (("--random", "-1"), "--random -1: give 0 or more"),
        (("--fault", "node"), "set RAY_ADDRESS"),
        (("--fault", "kill", "--dry_run"), "--dry_run are options of cyclegan_dist.train alone"),
        (("--fault", "kill", "--wrld.num_workers", "2"), "did you mean --world.num_workers?"),
        (("--falt", "kill"), "did you mean --fault?"),
        (("--fault", "kil"), "invalid choice 'kil' for argument '--fault'"),
        (("--fault", "kill", "--set", "world.num_workers"), "write --world.num_workers VALUE"),
    ],
)
def test_bad_input_is_one_line(
    command: Callable[..., Answer], config: Path, arguments: tuple[str, ...], says: str
) -> None:
    code, _, err = command(pipeline.main, config, *arguments)
    assert code == 2 and says in err and err.count("\n") == 1


@pytest.mark.parametrize("override", [("--optim.lr", "0.5"), ("--set", "optim.lr=0.5")])
def test_options_of_the_training_are_taken(
    command: Callable[..., Answer], config: Path, monkeypatch: pytest.MonkeyPatch, override: tuple[str, ...]
) -> None:
    parsed: list[tuple[pipeline.Drill, Config]] = []

    def record(*arguments: Any) -> int:
        parsed.append(arguments)  # pyright: ignore[reportArgumentType]
        return 0

    monkeypatch.setattr(pipeline, "drill", record)
    code, _, err = command(pipeline.main, config, "--fault", "kill", "hang", "--name", "other", *override)
    ((options, taken),) = parsed
    assert code == 0 and (err == "--set is deprecated: write --optim.lr 0.5\n") == (override[0] == "--set")
    assert options.fault == ("kill", "hang") and (taken.name, taken.optim.lr) == ("other", 0.5)
