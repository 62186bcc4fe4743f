from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.operations.drill.faults import apply_fault
from cyclegan_dist.operations.drill.measure import compare, costs, read_steps
from cyclegan_dist.operations.drill.plan import Fault, Point, write_plan
from tests.conftest import make_run
from tests.faults.forked_processes import in_fork
from tests.ranks import run_ranks
from tests.training.trainings import go, records

# `save` is reached in another thread, which reports errors instead of raising them.
POINTS = [point for point in get_args(Point) if point != "save"]


@pytest.fixture(scope="module")
def baseline(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = make_run(tmp_path_factory.mktemp("whole"), name="whole", data__path=str(dataset))
    write_plan(config.run_dir, [])
    go(config)
    return config


@pytest.mark.parametrize("point", POINTS)
def test_a_fault_is_injected_once_at_its_point(tiny_run: Callable[..., Config], baseline: Config, point: Point) -> None:
    config, faults = tiny_run(), [Fault(number=0, kind="exception", step=6, point=point)]
    write_plan(config.run_dir, faults)
    with pytest.raises(RuntimeError, match="a fault of the drill"):
        go(config)
    done = read_steps(config.run_dir)[-1]["step"]
    assert done >= 6 if point in ("step", "saved") else done == 5
    assert go(config) == "FINISHED"
    (cost,) = costs(config.run_dir, faults)
    assert cost.recovery_s is not None and cost.recovery_s > 0
    assert cost.repeated == done - (8 if point == "saved" and done >= 8 else 4)
    found = compare(config, baseline)
    assert (found.max_difference, found.equal, found.lost, found.doubled) == (0, True, 0, 0)
    assert (found.points_missing, found.points_doubled) == (0, 0)


def test_a_fault_while_a_checkpoint_is_written_keeps_the_previous_one(tiny_run: Callable[..., Config]) -> None:
    config = tiny_run()
    write_plan(config.run_dir, [Fault(number=0, kind="exception", step=6, point="save")])
    assert go(config) == "FINISHED"
    said = [r["text"] for r in records(config) if r["kind"] == "message"]
    assert len([text for text in said if "a fault of the drill; the previous one is kept" in text]) == 1
    assert max((config.run_dir / "checkpoints").glob("step-*")).name == "step-000000020"  # the next ones are written


def test_a_fault_is_injected_into_its_rank_only(tiny_run: Callable[..., Config]) -> None:
    config = tiny_run()
    write_plan(config.run_dir, [Fault(number=0, kind="exception", step=3, rank=1)])

    def failed(world: object) -> bool:
        try:
            go(config, world)  # pyright: ignore[reportArgumentType]
        except RuntimeError as error:
            return "a fault of the drill" in str(error)
        return False

    assert run_ranks(failed, 2) == [False, True]


def test_a_run_without_a_plan_is_not_a_drill(tiny_run: Callable[..., Config]) -> None:
    config = tiny_run()
    go(config)
    assert not (config.run_dir / "drill").exists()


@pytest.mark.parametrize(
    ("kind", "code"),
    [("kill", -9), ("segfault", -11), ("abort", -6), ("exit", 1), ("terminate", -15), ("exception", 1)],
)
def test_a_fault_ends_the_process_with_its_code(kind: str, code: int) -> None:
    assert in_fork(lambda: apply_fault(kind)) == code


@pytest.mark.parametrize("kind", ["hang", "freeze", "hold_lock"])
def test_a_hang_does_not_end(kind: str) -> None:
    assert in_fork(lambda: apply_fault(kind), timeout_s=0.5) == -9


def test_a_node_without_a_raylet_is_not_killed() -> None:
    with pytest.raises(RuntimeError, match="not Ray's raylet"):
        apply_fault("node")
