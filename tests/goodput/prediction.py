"""The model of `operations/sizing/goodput.py`: its constants from measured restarts, and checked against the drill."""

import math
import statistics
from collections.abc import Sequence

from cyclegan_dist.operations.sizing.goodput import RestartTime, goodput
from tests.goodput.killing import Drill
from tests.goodput.restarts import Restart
from tests.goodput.training import INTERVAL, median

CONFIDENCE = 0.95


def fit(restarts: Sequence[Restart]) -> RestartTime:
    """The restart time of ranks with a core each, from restarts with standby processes.

    Here all ranks share the same cores, so seconds grow with ranks even if nothing else does. What would grow with
    separate cores too is the work of processes that serve all ranks: their CPU seconds, by least squares, with the
    interval of the slope. The rest is that of the fewest ranks. Restarts with a new controller are left out: how long it
    takes to start does not depend on ranks.
    """
    from scipy.special import stdtrit  # quantiles of Student's t

    used = [restart for restart in restarts if restart.standby and not restart.new_controller]
    ranks, central_s = [restart.ranks for restart in used], [restart.central_cpu_s for restart in used]
    slope, start = statistics.linear_regression(ranks, central_s)
    unexplained = sum((seconds - start - slope * count) ** 2 for count, seconds in zip(ranks, central_s, strict=True))
    freedom, spread = len(used) - 2, sum((count - statistics.mean(ranks)) ** 2 for count in ranks)
    margin = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * math.sqrt(unexplained / freedom / spread)
    base_s = median(restart.seconds for restart in used if restart.ranks == min(ranks))
    return RestartTime(*(round(value, 3) for value in (base_s, slope, max(0.0, slope - margin), slope + margin)))


def predicted(drill: Drill) -> float:
    """The goodput that the model gives for a drill, with its interval between checkpoints and its mean restart."""
    restart_s = statistics.mean(kill.seconds for kill in drill.kills)
    return goodput(INTERVAL * drill.step_s, drill.stall_s, restart_s, drill.interval_s)
