"""Command that measures goodput and restarts, and writes `docs/goodput.json` and `docs/goodput.md`.

    python -m tests.goodput [drill [MINUTES INTERVAL_S]] [restarts [RANKS ...]] [page]

Without arguments it measures all, which takes an hour. With some it measures that anew and keeps the other figures.
"""

import sys
import warnings
from collections.abc import Sequence

from tests.goodput.killing import Drill, run_drill
from tests.goodput.page import read, write
from tests.goodput.restarts import Restart, measure_restarts

MINUTES, INTERVAL_S = 30.0, 300.0
# With standby processes and, for comparison, without.
RANKS = {True: (2, 4, 8, 16), False: (2, 4)}
KILLS = 5


def main(arguments: Sequence[str]) -> int:
    """Measure and write."""
    warnings.simplefilter("ignore")
    what, numbers = (arguments[0] if arguments else "all"), [float(argument) for argument in arguments[1:]]
    drill: Drill | None = None
    restarts: list[Restart] = []
    if what in ("all", "restarts"):
        for standby, counts in RANKS.items():
            for ranks in counts:
                if not numbers or ranks in numbers:
                    restarts += measure_restarts(ranks, KILLS, standby)
    if what in ("all", "drill"):
        minutes, interval_s = numbers or (MINUTES, INTERVAL_S)
        drill = run_drill(minutes, interval_s)
    if drill is None or not restarts or numbers:  # keep the rest
        known, before = read()
        measured = {(restart.ranks, restart.standby) for restart in restarts}
        restarts = [one for one in before if (one.ranks, one.standby) not in measured] + restarts
        drill = drill or known
    write(drill, restarts)
    print(f"goodput {100 * drill.goodput:.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
