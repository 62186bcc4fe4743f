"""Kendall's tau between evaluators."""

import math

import pytest
import torch

from cyclegan_dist.evaluation.agreement import agreements


def test_tau_counts_the_pairs_in_one_order() -> None:
    values = {"one": [0.1, 0.2, 0.3, 0.4], "same": [1.0, 2, 3, 9], "turned": [4.0, 3, 2, 1], "one swap": [2.0, 1, 3, 4]}
    found = {pair: agreement.tau for pair, agreement in agreements(values).items()}
    assert found["one", "same"] == pytest.approx(1) and found["one", "turned"] == pytest.approx(-1)
    assert found["one", "one swap"] == pytest.approx((5 - 1) / 6)  # five of six pairs in one order, one in the other
    assert len(found) == 6 and all(agreement.n == 4 for agreement in agreements(values).values())


def test_evaluators_that_have_nothing_to_do_with_each_other() -> None:
    one, two = torch.rand(2, 200, generator=torch.Generator().manual_seed(0)).tolist()
    (agreement,) = agreements({"one": one, "two": two}).values()
    assert abs(agreement.tau) < 0.15 and agreement.p > 0.01


def test_models_without_a_value_and_too_few_of_them_are_left_out() -> None:
    values = {
        "one": [1.0, 2, 3, math.nan],
        "two": [1.0, 2, 3, 4],
        "three": [5.0, 5, 5, 5],
        "four": [1.0, 2, math.nan, math.nan],
    }
    found = agreements(values)
    assert found["one", "two"].n == 3
    assert found.keys() == {("one", "two")}  # a constant has no order, and two models have hardly one
