"""Command that runs many trainings of many ranks and writes `docs/soak.md`.

    python -m tests.soak [RANKS SEED]

With a number of ranks and a seed, it runs that case only, and prints how it ended.
"""

import os
import sys
import tempfile
import warnings
from pathlib import Path

from tests.soak.cases import draw
from tests.soak.page import PAGE, render
from tests.soak.running import Outcome, datasets, run

RUNS = {8: 100, 16: 20}  # by number of ranks
LIMIT_S = 180.0  # of a phase, which takes a few seconds


def main(only: list[int]) -> int:
    """Run the cases, and return 1 if one of them did not finish."""
    warnings.simplefilter("ignore")
    planned = (
        [(only[0], only[1])] if only else [(ranks, seed) for ranks, count in RUNS.items() for seed in range(count)]
    )
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="soak") as folder:
        os.environ["CYCLEGAN_DIST_HOME"] = folder
        data = datasets(Path(folder))
        for ranks, seed in planned:
            case = draw(ranks, seed)
            outcome = run(case, data, LIMIT_S)
            outcomes.append(outcome)
            print(f"{ranks} ranks, seed {seed}: {outcome.end} in {outcome.seconds} s", flush=True)
            if only or outcome.end != "finished":
                print(f"{case}\n{outcome.detail}".strip(), flush=True)
            if not only:  # after each, as all of them take half an hour
                PAGE.write_text(render(outcomes, LIMIT_S))
    return int(any(outcome.end != "finished" for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main([int(argument) for argument in sys.argv[1:]]))
