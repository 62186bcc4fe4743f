import math

import pytest

from cyclegan_dist.operations.sizing.goodput import RestartTime, best_interval_s, goodput


def test_daly_s_interval_equals_a_count_by_hand() -> None:
    # stall 2 s, a failure every 10,000 s: Young's sqrt(2 * 2 * 10,000) = 200; times 1 + 0.01 / 3 + 0.0001 / 9; less 2
    assert best_interval_s(2, 10_000) == pytest.approx(198.66889, abs=1e-5)
    assert best_interval_s(30, 10) == 10  # a checkpoint that takes longer than the time between failures


def test_goodput_equals_a_count_by_hand() -> None:
    # 100 s of 110 s between failures of 110 s mean, restart 55 s: 100 / (110 * e^0.5 * (e - 1))
    assert goodput(100, 10, 55, 110) == pytest.approx(100 / (110 * 1.6487213 * 1.7182818), rel=1e-6)
    assert goodput(100, 0, 0, 1e12) == pytest.approx(1)
    assert goodput(1e6, 1, 1, 1) == 0


@pytest.mark.parametrize(("stall", "failure"), [(1, 3600), (30, 7200), (0.1, 1e6)])
def test_no_interval_near_the_best_has_more_goodput(stall: float, failure: float) -> None:
    best = best_interval_s(stall, failure)
    most = goodput(best, stall, 60, failure)
    for factor in (0.5, 0.8, 1.25, 2):
        assert goodput(factor * best, stall, 60, failure) < most
    assert most == pytest.approx(1 - math.sqrt(2 * stall / failure) - 60 / failure, abs=0.02)  # first order


def test_the_restart_time_grows_with_ranks() -> None:
    time = RestartTime(base_s=3, per_rank_s=0.1, low_s=0.05, high_s=0.2)
    assert time.of(100) == (13, 8, 23)
