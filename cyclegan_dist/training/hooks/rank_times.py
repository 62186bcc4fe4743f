"""Comparison of the ranks' own times, and a warning of one for which all others wait."""

from collections.abc import Sequence

from cyclegan_dist.step.device_name import device_name
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.own_time import OwnTime
from cyclegan_dist.tracking.journal import Journal

NOTICED = 1.25  # times the fastest rank's time
# Records in which the same rank is that slow, before it is reported. Each rests on few updates: of equal ranks on a
# machine with other programs the same one was the slower one in up to five in a row.
IN_A_ROW = 10


class RankTimes:
    """With each record of losses, compares how long the ranks compute in an update. A rank that is much slower than the
    fastest, in several records in a row, is reported once in an attempt.

    Args:
        own: this rank's time.
        world: this rank among all.
        journal: on rank 0, else None.
    """

    def __init__(self, own: OwnTime, world: World, journal: Journal | None):
        self._own, self._world, self._journal = own, world, journal
        self._slowest, self._records = -1, 0
        self._reported: set[int] = set()

    def values(self) -> dict[str, float]:
        """The figure for a record: the share of all ranks' time that is waiting for the slowest. None for a single
        rank, and while a rank has measured nothing. All ranks call it together.
        """
        if self._world.size == 1:
            return {}
        own_s = self._own.take()
        seconds = self._world.max([own_s if rank == self._world.rank else 0.0 for rank in range(self._world.size)])
        if not all(seconds):
            return {}
        slowest = seconds.index(max(seconds))
        is_slow = seconds[slowest] >= NOTICED * min(seconds)
        self._records = (self._records if slowest == self._slowest else 0) + 1 if is_slow else 0
        self._slowest = slowest
        if self._records >= IN_A_ROW and slowest not in self._reported:
            self._reported.add(slowest)
            names = self._world.gather(device_name(self._world.device))
            if self._journal is not None:
                self._journal.message(f"warning: {imbalance(seconds, names)}")
        return {"perf/rank_wait_frac": waiting(seconds)}


def waiting(seconds: Sequence[float]) -> float:
    """The share of all ranks' time in which they wait for the slowest, from the seconds that each computes."""
    return 1 - sum(seconds) / len(seconds) / max(seconds)


def imbalance(seconds: Sequence[float], names: Sequence[str]) -> str:
    """A sentence on the slowest rank, and what to do.

    Args:
        seconds: that each rank computes in an update.
        names: of the ranks' GPUs or processors.
    """
    slowest, fastest = (seconds.index(one(seconds)) for one in (max, min))
    others = [own for rank, own in enumerate(seconds) if rank != slowest]
    share = 1 - sum(others) / len(others) / seconds[slowest]
    if names[slowest] == names[fastest]:
        advice = "look for other programs there, heat or a power limit"
    else:
        advice = "use GPUs of one kind (under Ray: world.node_labels), or fewer ranks without it"
    return (
        f"rank {slowest} ({names[slowest]}) needs {seconds[slowest] / seconds[fastest]:.1f} times the time of rank "
        f"{fastest} ({names[fastest]}), the fastest: {share:.0%} of the other ranks' time is waiting; {advice}"
    )
