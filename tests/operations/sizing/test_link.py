import math

import pytest

from cyclegan_dist.operations.sizing.link import LARGE, Link, measure_link
from tests.ranks import run_ranks


def test_all_reduce_time_is_that_of_a_ring_or_a_tree() -> None:
    link = Link(bytes_per_s=1e9, latency_s=0)
    assert link.all_reduce_s(1e9, 1) == 0
    assert link.all_reduce_s(1e9, 2) == pytest.approx(1)
    assert link.all_reduce_s(1e9, 4) == pytest.approx(1.5)
    slow = Link(bytes_per_s=math.inf, latency_s=1)
    assert [slow.all_reduce_s(1, n) for n in (2, 4, 1024)] == [2, 6, 40]


def test_the_measured_link_is_plausible() -> None:
    for link in run_ranks(measure_link, 2):
        assert 1e7 < link.bytes_per_s < 1e12 and 0 <= link.latency_s < 0.5
        assert link.all_reduce_s(LARGE, 2) > link.all_reduce_s(1, 2)
