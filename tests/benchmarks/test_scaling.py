"""Test of what the gradient exchange leaves of a speed-up."""

import os

import pytest

from benchmarks.scaling import exchange_limit


def test_the_exchange_limits_the_speed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert exchange_limit(1.0, 0.0, 2) == 2
    assert exchange_limit(1.0, 0.25, 2) == pytest.approx(1.6)
    assert exchange_limit(1.0, 0.5, 4) == pytest.approx(1.6)  # four ranks on two cores take turns: 2 s and 0.5 s
