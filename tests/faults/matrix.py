"""Rows of the fault matrix, and their registry.

A drill is a function that takes a `Stage`, injects a fault and returns a measurement. Tests run drills with few
repetitions; `make faults` runs them with all repetitions and writes `docs/faults.md`.
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
    "D": "Numerics and GAN state",
    "E": "Tracking and registry",
    "F": "Security",
    "G": "State, tracking and service, second round",
    "X": "Stress tests",
}


@dataclass(frozen=True)
class Measured:
    """Result of a drill: a sentence with figures, and whether the outcome was as expected."""

    figure: str
    passed: bool


class Stage:
    """Working folder and settings of a drill.

    Attributes:
        folder: an existing, empty folder.
        thorough: all repetitions, for the report; otherwise few, for the tests.
        seed: seed of all random numbers in the drill.
    """

    def __init__(self, folder: Path, *, thorough: bool, seed: int = 0):
        self.folder, self.thorough, self.seed = folder, thorough, seed

    def times(self, few: int, all_of_them: int) -> int:
        """The number of repetitions: `few` in a test, `all_of_them` for the report."""
        return all_of_them if self.thorough else few

    @cached_property
    def random(self) -> random.Random:
        return random.Random(self.seed)

    @cached_property
    def dataset(self) -> Path:
        """A data set for this drill only: seven images of A and ten of B, 24 x 24, in shards of four."""
        return make_dataset(self.folder / "dataset")

    def run(self, **changes: Any) -> Config:
        """Open a run with the tests' tiny configuration on `dataset`; keywords are dotted keys with __ for the dot."""
        return make_run(self.folder, **{"data__path": str(self.dataset), **changes})


Drill = Callable[[Stage], Measured]


@dataclass(frozen=True)
class Row:
    """One fault of the matrix.

    Attributes:
        id: group letter and number.
        fault: the fault.
        expected: the expected outcome.
        drill: function that injects the fault.
        slow: the drill takes more than a few seconds even with few repetitions.
        nightly: the drill takes so long that it runs for the report only.
    """

    id: str
    fault: str
    expected: str
    drill: Drill
    slow: bool = False
    nightly: bool = False


REGISTERED: dict[str, Row] = {}


def row(id: str, fault: str, expected: str, *, slow: bool = False, nightly: bool = False) -> Callable[[Drill], Drill]:
    """Register a drill in the matrix."""

    def register(drill: Drill) -> Drill:
        assert id not in REGISTERED, id
        REGISTERED[id] = Row(id, fault, expected, drill, slow=slow, nightly=nightly)
        return drill

    return register
