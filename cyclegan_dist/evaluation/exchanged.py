"""Classes that a translation exchanges, found by the best one-to-one assignment of found classes to true ones."""

import numpy as np
import torch
from torch import Tensor


def best_assignment(counts: Tensor) -> list[int]:
    """For each row of K x K counts, whole numbers below 1e13, the column assigned to it: each column once, with the
    largest sum, and of equally large ones one with the most rows on the diagonal.
    """
    from scipy.optimize import linear_sum_assignment

    size = len(counts)
    gain = counts.numpy().astype(np.int64) * (size + 1) + np.eye(size, dtype=np.int64)
    return linear_sum_assignment(gain, maximize=True)[1].tolist()


def exchanged(counts: Tensor) -> list[list[int]]:
    """The groups of classes that a translation exchanges, each in the order in which one is found as the next.

    They are the cycles of the best assignment in which more than half of the pixels of every class are found as the
    next one. A translation that does not depend on the true class finds all classes alike, so that no more than one
    could be found in more than half of any: no group comes about by chance.

    Args:
        counts: K x K pixels by true (row) and found (column) class.
    """
    assigned = best_assignment(counts)
    share = counts.double() / counts.sum(1, keepdim=True).clamp(min=1)
    groups: list[list[int]] = []
    for first in range(len(assigned)):
        group = [first]
        while (following := assigned[group[-1]]) != first:
            group.append(following)
        if len(group) > 1 and first == min(group) and all(share[label, assigned[label]] > 0.5 for label in group):
            groups.append(group)
    return groups


def exchanged_back(counts: Tensor, groups: list[list[int]]) -> Tensor:
    """The counts with the found classes of each group named as the true classes that they are found for."""
    columns = torch.arange(len(counts))
    for group in groups:
        for label, following in zip(group, [*group[1:], group[0]], strict=True):
            columns[label] = following
    return counts[:, columns]
