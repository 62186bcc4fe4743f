"""The drill's arithmetic, its short form on the simulated cluster, and the figures of the last long run."""

import json
from typing import Any

import pytest

from cyclegan_dist.operations.sizing.goodput import COMPILE_S, RESTART, best_interval_s, goodput
from tests.goodput.killing import Drill, Kill, counted, run_drill
from tests.goodput.page import FAILURE_S, FIGURES, GPUS, PAGE, STALLS_S, read, render
from tests.goodput.prediction import fit, predicted
from tests.goodput.restarts import Restart
from tests.multinode.network import possible


def journal(*attempts: tuple[str, range, float]) -> list[dict[str, Any]]:
    """Steps of a second each; each attempt by its name, steps, and the time of its first step."""
    return [
        {"step": step, "time": began + i, "attempt": name}
        for name, steps, began in attempts
        for i, step in enumerate(steps)
    ]


def test_steps_that_were_done_again_and_first_steps_of_a_restart_do_not_count() -> None:
    # Step 1 has no beginning. Steps 5 and 6 are repeated after 20 s; 5 then belongs to the restart.
    steps = journal(("a", range(1, 7), 0.0), ("b", range(5, 9), 25.0))
    assert counted(steps) == {2: 1, 3: 1, 4: 1, 6: 1, 7: 1, 8: 1}


def test_the_goodput_of_a_drill_is_the_share_of_steps_that_count() -> None:
    kills = [Kill("rank", 50.0, 0.5, 20.0, 2, 1.0)]
    drill = Drill(100.0, 100.0, 79.0, 79, 1.0, 0.0, 0, 0, kills)
    assert drill.goodput == 0.79
    assert predicted(drill) == goodput(10, 0, 20, 100) == pytest.approx(0.7784, abs=1e-4)  # e^-0.2 * 0.1 / (e^0.1 - 1)


def restart(ranks: int, central_s: float, seconds: float = 5.0) -> Restart:
    return Restart(ranks, True, False, seconds, 0.5, central_s, 0.4, 1.0)


def test_growth_is_that_of_the_processes_that_serve_all_ranks() -> None:
    exact = fit([restart(ranks, 1 + 0.1 * ranks, seconds=2.0 * ranks) for ranks in (2, 2, 4, 8)])
    assert (exact.base_s, exact.per_rank_s) == (4.0, 0.1)
    assert exact.of(1000) == pytest.approx((104, 104, 104))
    # By hand: means 2 and 1.5; slope 1 / 2 = 0.5; residuals 0.5, -0.5, 0.5, -0.5 of 4 - 2 degrees of freedom: a standard
    # error of sqrt(1 / 2) / sqrt(4) = 0.3536, times t = 4.303.
    noisy = fit([restart(1, 1.5), restart(1, 0.5), restart(3, 2.5), restart(3, 1.5)])
    assert (noisy.per_rank_s, noisy.low_s, noisy.high_s) == (0.5, 0.0, 2.021)


def test_the_page_is_what_the_figures_say_and_the_plan_uses_them() -> None:
    drill, restarts = read()
    assert PAGE.read_text() == render(drill, restarts, json.loads(FIGURES.read_text())["facts"])
    assert fit(restarts) == RESTART
    assert (drill.lost, drill.doubled) == (0, 0)
    assert drill.goodput >= 0.9
    restart_s, stall_s = RESTART.of(GPUS)[0] + COMPILE_S, min(STALLS_S)
    assert goodput(best_interval_s(stall_s, FAILURE_S), stall_s, restart_s, FAILURE_S) >= 0.99


@pytest.mark.multinode
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(bool(possible()), reason=possible())
def test_kills_every_minute_lose_no_step() -> None:
    drill = run_drill(minutes=3, interval_s=60)
    assert [kill.kind for kill in drill.kills] == ["rank", "raylet", "power"]
    assert (drill.lost, drill.doubled) == (0, 0)
    assert drill.goodput > 0.4, drill
