"""The model of `operations/sizing/goodput.py`: its constants from measured restarts, and checked against the drill."""

import statistics
from collections.abc import Sequence
from typing import Any

from cyclegan_dist.operations.sizing.goodput import RestartTime, goodput
from tests.goodput.killing import Drill
from tests.goodput.restarts import Restart
from tests.goodput.training import INTERVAL, median

CONFIDENCE = 0.95


def fit(restarts: Sequence[Restart]) -> RestartTime:
    """The restart time of ranks with a core each, from restarts with standby processes.

    Here all ranks share the same cores, so seconds grow with ranks even if nothing else does. What would grow with
    separate cores too is the work of processes that serve all ranks: their CPU seconds, by least squares. The rest is
    that of the fewest ranks.
    """
    from scipy.stats import linregress, t

    used = [restart for restart in restarts if restart.standby]
    line: Any = linregress([restart.ranks for restart in used], [restart.central_cpu_s for restart in used])
    margin = float(t.ppf((1 + CONFIDENCE) / 2, len(used) - 2) * line.stderr)
    least = min(restart.ranks for restart in used)
    base_s = median(restart.seconds for restart in used if restart.ranks == least)
    slope = float(line.slope)
    return RestartTime(*(round(value, 3) for value in (base_s, slope, max(0.0, slope - margin), slope + margin)))


def predicted(drill: Drill) -> float:
    """The goodput that the model gives for a drill, with its interval between checkpoints and its mean restart."""
    restart_s = statistics.mean(kill.seconds for kill in drill.kills)
    return goodput(INTERVAL * drill.step_s, drill.stall_s, restart_s, drill.interval_s)
