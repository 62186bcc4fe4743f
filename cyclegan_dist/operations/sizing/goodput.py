"""Checkpoint interval and goodput of a training whose ranks fail at random.

From Young (1974), "A first order approximation to the optimum checkpoint interval", and Daly (2006), "A higher order
estimate of the optimum checkpoint interval for restart dumps": failures are independent and exponentially distributed,
and one failure of any rank restarts all of them from the last checkpoint.
"""

import math
from dataclasses import dataclass


def best_interval_s(stall_s: float, failure_s: float) -> float:
    """Seconds of training between two checkpoints that give the most goodput (Daly's higher-order estimate, whose
    leading term is Young's sqrt(2 stall_s failure_s)).

    Args:
        stall_s: seconds that a checkpoint holds training up.
        failure_s: mean seconds between failures of the training.
    """
    ratio = stall_s / (2 * failure_s)
    if ratio >= 1:
        return failure_s
    return math.sqrt(2 * stall_s * failure_s) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - stall_s


def goodput(interval_s: float, stall_s: float, restart_s: float, failure_s: float) -> float:
    """Expected share of the wall-clock time that is training which is not lost again, from 0 to 1 (Daly's equation for
    the wall-clock time).

    Args:
        interval_s: seconds of training between two checkpoints.
        stall_s: seconds that a checkpoint holds training up.
        restart_s: seconds from a failure until training goes on.
        failure_s: mean seconds between failures of the training.
    """
    try:
        wall_s = failure_s * math.exp(restart_s / failure_s) * math.expm1((interval_s + stall_s) / failure_s)
    except OverflowError:  # so many failures that no interval is ever completed
        return 0.0
    return interval_s / wall_s


@dataclass(frozen=True)
class RestartTime:
    """Seconds from a failure until training goes on, linear in the number of ranks: all ranks start at the same time on
    cores of their own, but one launcher, one controller and one head of Ray serve all of them.

    Attributes:
        base_s: detection, and the start of one rank.
        per_rank_s: CPU seconds of launcher, controller and head for one further rank.
        low_s, high_s: the interval of `per_rank_s` at 95 %.
    """

    base_s: float
    per_rank_s: float
    low_s: float
    high_s: float

    def of(self, ranks: int) -> tuple[float, float, float]:
        """The restart time, and its interval at 95 %."""
        expected, low, high = (self.base_s + each * ranks for each in (self.per_rank_s, self.low_s, self.high_s))
        return expected, low, high


# Measured on simulated machines without GPUs: docs/goodput.md.
RESTART = RestartTime(base_s=3.255, per_rank_s=0.117, low_s=0.02, high_s=0.214)
COMPILE_S = 60.0  # assumed: compilation and CUDA graphs, in each process of a GPU
