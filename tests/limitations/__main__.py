"""Command that trains on the drawn data sets and writes `docs/limitations.json` and `docs/limitations.md`.

    python -m tests.limitations [CASE [SEED ...] | horse2zebra FOLDER | page]

Without arguments it trains all cases with all seeds. With some it measures that anew and keeps the other figures.
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
from tests.limitations.real import on_real_images


def main(arguments: Sequence[str]) -> int:
    """Train, measure and write."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if arguments[:1] in (["page"], ["horse2zebra"]):
        real = on_real_images(Path(arguments[1])) if arguments[0] == "horse2zebra" else None
        outcomes, known = read()
        write(outcomes, real or known)
        return 0
    for name in arguments[:1] or CASES:
        for seed in map(int, arguments[1:]) if arguments[1:] else CASES[name].seeds:
            with TemporaryDirectory() as place:
                found = measured(name, seed, Path(place))
            for one in found:
                print(
                    one.case, seed, one.nimg, {k: round(v, 3) for k, v in one.figures.items()}, one.findings, flush=True
                )
            new = {(one.case, one.seed) for one in found}
            outcomes, real = read()
            write([one for one in outcomes if (one.case, one.seed) not in new] + found, real)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
