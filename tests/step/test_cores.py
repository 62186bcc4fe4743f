import os

import pytest

from cyclegan_dist.step.cores import usable_cores


def test_cores_are_counted_with_and_without_an_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    assert usable_cores() == os.cpu_count()
