"""Tests of the baseline step. `tests/methods/test_parity.py` compares it with the library's update."""

import random

import torch

from benchmarks.reference_step import ImagePool
from benchmarks.step import Measurement, difference_from_baseline


def test_a_full_pool_returns_earlier_images_half_of_the_time() -> None:
    random.seed(0)
    pool, first = ImagePool(2), torch.zeros(2, 3, 4, 4)
    assert pool.query(first).equal(first)
    returned = torch.cat([pool.query(torch.full((1, 3, 4, 4), float(i))) for i in range(1, 201)])
    earlier = sum(float(image[0, 0, 0]) != i for i, image in enumerate(returned, start=1))
    assert 70 < earlier < 130


def test_the_benchmark_detects_a_different_algorithm() -> None:
    workload = Measurement(size=32, ngf=4, n_blocks=1)
    assert difference_from_baseline(workload) < 1e-9
    assert difference_from_baseline(workload, baseline_lr_factor=1.01) > 1e-6
