"""The command's refusals; whole drills are rows A1 to A13 of the fault matrix."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cyclegan_dist.operations.drill.plan import Fault, write_plan
from pipelines.drill import main
from tests.conftest import Answer

RUN = """
name: tiny
data: {path: DATA, load_size: 20, crop_size: 16}
method: {discriminator: {n_layers_D: 1}}
every: {checkpoint: 10}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(RUN.replace("DATA", str(tmp_path / "data")))
    return path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "name what is to break: --fault kill, or --random 20"),
        (("--fault", "node"), "set RAY_ADDRESS"),
        (("--fault", "kill", "--set", "world.num_workers"), "give KEY=VALUE"),
        (("--fault", "kill", "--set", "wrld.num_workers=2"), "did you mean world.num_workers?"),
    ],
)
def test_what_cannot_be_drilled_is_refused(
    command: Callable[..., Answer], config: Path, arguments: tuple[str, ...], says: str
) -> None:
    code, _, err = command(main, config, *arguments)
    assert code == 2 and says in err and err.count("\n") == 1


def test_a_run_that_is_no_drill_is_not_touched(command: Callable[..., Answer], config: Path, own_home: Path) -> None:
    (own_home / "runs" / "tiny-undisturbed").mkdir(parents=True)
    code, _, err = command(main, config, "--fault", "kill")
    assert code == 2 and "no drill: give another --name" in err


def test_a_drill_with_other_faults_is_another_drill(
    command: Callable[..., Answer], config: Path, own_home: Path
) -> None:
    write_plan(own_home / "runs" / "tiny-undisturbed", [Fault(number=0, kind="kill", step=1)])
    code, _, err = command(main, config, "--fault", "kill")
    assert code == 2 and "was drilled with other faults: give another --name" in err


def test_a_training_that_ends_by_itself_ends_the_drill(
    command: Callable[..., Answer], config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.drill.TRAIN", ["sh", "-c", "echo no such data; exit 3"])
    code, _, err = command(main, config, "--fault", "kill")
    assert code == 2 and "training tiny-undisturbed ended with exit code 3: see" in err
    assert Path(err.split(": see ")[1].strip()).read_text() == "no such data\n"


def test_a_training_that_ends_before_a_fault_is_refused(
    command: Callable[..., Answer], config: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plan(own_home / "runs" / "tiny-undisturbed", [])
    steps = own_home / "runs" / "tiny-undisturbed" / "drill" / "steps.jsonl"
    steps.write_text('{"step": 12, "time": 1.0, "attempt": "a"}\n')
    monkeypatch.setattr("pipelines.drill.TRAIN", ["true"])
    code, _, err = command(main, config, "--fault", "kill")
    assert code == 2 and "tiny-undisturbed ends after 12 steps, before the last fault at step 20" in err
