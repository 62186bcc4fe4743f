"""Command that trains on the drawn data sets and writes `docs/limitations.json` and `docs/limitations.md`.

    python -m tests.limitations [CASE [SEED ...]]

Without arguments it trains all cases with all seeds. With some it trains that anew and keeps the other figures.
"""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from tests.limitations.cases import CASES
from tests.limitations.measuring import measured
from tests.limitations.page import read, write


def main(arguments: Sequence[str]) -> int:
    """Train, measure and write."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name in arguments[:1] or CASES:
        for seed in map(int, arguments[1:]) if arguments[1:] else CASES[name].seeds:
            with TemporaryDirectory() as place:
                outcomes = measured(name, seed, Path(place))
            new = {(outcome.case, outcome.seed) for outcome in outcomes}
            write([outcome for outcome in read() if (outcome.case, outcome.seed) not in new] + outcomes)
            for outcome in outcomes:
                print(
                    outcome.case, outcome.seed, {k: round(v, 3) for k, v in outcome.figures.items()}, outcome.findings
                )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
