"""What a row of the fault matrix is, and where all of them are kept.

A drill is a function that gets a `Stage`, breaks something and returns what it measured. Tests run drills with few
repetitions; `make faults` runs them with all and writes `docs/faults.md`.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cyclegan_dist.config.config import Config
from tests.conftest import make_dataset, make_run

GROUPS = {
    "A": "Processes, nodes and networks",
    "B": "Checkpoints and storage",
    "C": "Data",
    "D": "Numerics and the state of a GAN",
    "E": "Tracking and registry",
    "F": "Security",
    "X": "Beyond the rows: what is counted or timed in bulk",
}


@dataclass(frozen=True)
class Measured:
    """What a drill found: a sentence with figures, and whether it is what was expected."""

    figure: str
    passed: bool


class Stage:
    """An empty folder to break things in, and how often.

    Attributes:
        folder: exists, empty.
        thorough: all repetitions, for the report; otherwise few, for the tests.
        seed: of everything random in the drill.
    """

    def __init__(self, folder: Path, *, thorough: bool, seed: int = 0):
        self.folder, self.thorough, self.seed = folder, thorough, seed

    def times(self, few: int, all_of_them: int) -> int:
        """Repetitions: few in a test, all of them in a report."""
        return all_of_them if self.thorough else few

    @cached_property
    def random(self) -> random.Random:
        return random.Random(self.seed)

    @cached_property
    def dataset(self) -> Path:
        """A data set that may be damaged: seven images of A and ten of B, 24 x 24, in shards of four."""
        return make_dataset(self.folder / "dataset")

    def run(self, **changes: Any) -> Config:
        """An opened run of the tests' tiny config on `dataset`; keyword arguments are dotted keys with __ for the
        dot.
        """
        return make_run(self.folder, **{"data__path": str(self.dataset), **changes})


Drill = Callable[[Stage], Measured]


@dataclass(frozen=True)
class Row:
    """One fault.

    Attributes:
        id: group letter and number.
        fault: what goes wrong.
        expected: what is to happen then.
        drill: does it.
        slow: takes more than a few seconds even with few repetitions.
        nightly: takes so long that it runs for the report only.
    """

    id: str
    fault: str
    expected: str
    drill: Drill
    slow: bool = False
    nightly: bool = False


ENTERED: dict[str, Row] = {}


def row(id: str, fault: str, expected: str, *, slow: bool = False, nightly: bool = False) -> Callable[[Drill], Drill]:
    """Enter a drill into the matrix."""

    def enter(drill: Drill) -> Drill:
        assert id not in ENTERED, id
        ENTERED[id] = Row(id, fault, expected, drill, slow=slow, nightly=nightly)
        return drill

    return enter
