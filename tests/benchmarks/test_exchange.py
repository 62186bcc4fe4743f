"""Tests of the measurement of gradient exchange."""

from benchmarks.exchange import LARGE, measure_link


def test_the_measured_link_is_plausible() -> None:
    link = measure_link(2)
    assert 1e7 < link.bytes_per_s < 1e12 and 0 <= link.latency_s < 0.5
    assert link.all_reduce_s(LARGE, 2) > link.all_reduce_s(1, 2)
