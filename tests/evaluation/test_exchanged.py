"""Classes that are exchanged."""

import numpy as np
import pytest
import torch

from cyclegan_dist.evaluation.exchanged import best_assignment, exchanged, exchanged_back
from cyclegan_dist.evaluation.segmentation import scores_of


def test_of_equally_good_assignments_classes_keep_their_places() -> None:
    assert best_assignment(torch.zeros(4, 4, dtype=torch.int64)) == [0, 1, 2, 3]
    assert best_assignment(torch.tensor([[5, 5, 0], [5, 5, 0], [0, 0, 0]])) == [0, 1, 2]


def test_two_classes_and_a_cycle_of_three_are_found_and_exchanged_back() -> None:
    right = torch.diag(torch.tensor([100, 30, 20, 9, 5])) + 1
    # What is found as 1 is 2 and the other way round; 0 is found as 3, 3 as 4, 4 as 0.
    counts = right[:, torch.tensor([4, 2, 1, 0, 3])]
    groups = exchanged(counts)
    assert groups == [[0, 3, 4], [1, 2]]
    assert exchanged_back(counts, groups).tolist() == right.tolist()
    assert scores_of(exchanged_back(counts, groups), 1)["pixel_accuracy"].value == pytest.approx(169 / 189)


def test_a_rare_pair_is_found_beside_frequent_classes() -> None:
    counts = torch.tensor([[100_000, 50, 50], [5, 20, 60], [5, 70, 10]])
    assert exchanged(counts) == [[1, 2]]


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param([[90, 5, 5], [5, 80, 5], [5, 5, 70]], id="right"),
        pytest.param([[90, 0, 0], [80, 0, 0], [70, 0, 0]], id="one class for all"),
        pytest.param([[0, 0, 90], [0, 0, 80], [0, 0, 70]], id="another one for all"),
        pytest.param([[45, 46, 9], [46, 45, 9], [0, 0, 9]], id="less than half"),
        pytest.param([[0, 0, 0], [0, 0, 0], [0, 0, 0]], id="nothing"),
        pytest.param([[0, 30, 0], [20, 50, 0], [0, 0, 9]], id="one way only"),
    ],
)
def test_nothing_is_found_without_an_exchange(counts: list[list[int]]) -> None:
    assert exchanged(torch.tensor(counts)) == []


def test_a_translation_that_does_not_depend_on_the_truth_exchanges_nothing() -> None:
    """In 50 draws of 19 classes of very different frequency, found at random."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        true, found = (rng.dirichlet(np.full(19, 0.3)) for _ in range(2))
        pixels = rng.multinomial(100_000, true)
        assert exchanged(torch.from_numpy(np.stack([rng.multinomial(n, found) for n in pixels]))) == []
