"""Ranks of this machine that exchange something."""

from benchmarks.exchange import LARGE, measure_link


def test_the_link_between_two_ranks_is_one_that_this_machine_can_have() -> None:
    link = measure_link(2)
    assert 1e7 < link.bytes_per_s < 1e12 and 0 <= link.latency_s < 0.5
    assert link.all_reduce_s(LARGE, 2) > link.all_reduce_s(1, 2)
