"""Short forms of the soak test, what it reports of ranks that hang or differ, and its page."""

import re
import time
from pathlib import Path
from unittest import mock

import pytest

from cyclegan_dist.step.distributed import World
from tests.ranks import HangError, run_ranks
from tests.soak import running
from tests.soak.__main__ import RUNS
from tests.soak.cases import Case, Phase, draw
from tests.soak.page import PAGE, upper_bound
from tests.soak.running import datasets, run

SEEDS = (1, 3, 10)  # each with a restart
PLAIN = Case(2, 0, {"optim__batch_size": 2}, False, [Phase(2, 2)])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    return datasets(tmp_path_factory.mktemp("soak"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_four_ranks_end_with_equal_weights(data: dict[bool, Path], seed: int) -> None:
    outcome = run(draw(4, seed), data, 100)
    assert outcome.end == "finished", outcome.detail


def test_a_rank_that_hangs_is_reported_with_its_stack() -> None:
    def wait_for_the_other(world: World) -> None:
        if world.rank == 0:
            world.gather("something")
        else:
            time.sleep(60)

    with pytest.raises(HangError, match=r"ranks \[0, 1\] hang") as error:
        run_ranks(wait_for_the_other, 2, timeout_s=2)
    assert "in gather" in str(error.value) and "in wait_for_the_other" in str(error.value)


def test_weights_that_differ_are_reported(data: dict[bool, Path]) -> None:
    with mock.patch.object(running, "digest", lambda tensors: time.monotonic_ns()):
        outcome = run(PLAIN, data, 60)
    assert outcome.end == "failed" and "weights differ" in outcome.detail


def test_cases_depend_on_their_seed_only_and_cover_all_kinds() -> None:
    cases = [draw(8, seed) for seed in range(RUNS[8])]
    assert cases == [draw(8, seed) for seed in range(RUNS[8])]
    assert {phase.end for case in cases for phase in case.phases} == {"steps", "kill", "stop file"}
    assert {case.options.get("method__gan_mode") for case in cases} == {None, "lsgan", "vanilla", "wgangp"}


def test_no_hang_in_n_runs_bounds_the_rate_by_three_over_n() -> None:
    assert upper_bound(0, 100) == pytest.approx(3 / 100, rel=0.02)
    assert upper_bound(9, 35) == pytest.approx(0.40, abs=0.01)
    assert upper_bound(1, 1) == 1


def test_the_page_shows_all_runs_and_no_hang() -> None:
    rows = [row.split(" | ") for row in re.findall(r"^\| (\d+ \| .*) \|$", PAGE.read_text(), re.MULTILINE)]
    assert {int(ranks): (int(runs), int(hung), int(failed)) for ranks, runs, _, hung, failed, *_ in rows} == {
        ranks: (count, 0, 0) for ranks, count in RUNS.items()
    }
