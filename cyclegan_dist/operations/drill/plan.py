"""The plan of a drill: faults to inject, in a file in the run's folder, which every node sees."""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

FOLDER, PLAN, STEPS = "drill", "plan.json", "steps.jsonl"

RankFault = Literal[
    "kill", "segfault", "abort", "exit", "exception", "system_exit", "terminate", "hang", "freeze", "hold_lock", "node"
]
DriverFault = Literal["driver_kill", "driver_terminate", "driver_interrupt"]
Kind = RankFault | DriverFault
Point = Literal["data", "forward", "backward", "save", "saved", "step"]
WITHOUT_CLUSTER: list[Kind] = [kind for kind in (*get_args(RankFault), *get_args(DriverFault)) if kind != "node"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault that is injected once.

    Attributes:
        number: its place in the plan.
        kind: what happens: see `faults`, or `driver` for those of the launcher.
        step: the first step at which it is injected, from 1.
        rank: the rank it is injected into, unless it is one of the driver.
        point: where in a step: before a batch is taken, in a generator's forward, while gradients are exchanged, while
            a checkpoint is written, right after one was committed, or after the step.
    """

    number: int
    kind: Kind
    step: int
    rank: int = 0
    point: Point = "step"

    @property
    def targets_driver(self) -> bool:
        return self.kind in get_args(DriverFault)


def write_plan(run_dir: Path, faults: list[Fault]) -> None:
    """Write the plan that the next start of a run follows."""
    (run_dir / FOLDER).mkdir(parents=True, exist_ok=True)
    (run_dir / FOLDER / PLAN).write_text(json.dumps([asdict(fault) for fault in faults], indent=1) + "\n")


def read_plan(run_dir: Path) -> list[Fault] | None:
    """The planned faults, or None if the run is not a drill."""
    path = run_dir / FOLDER / PLAN
    if not path.exists():
        return None
    return [Fault(**fault) for fault in json.loads(path.read_bytes())]


def list_plan(kinds: Sequence[Kind], *, every: int, rank: int, point: Point) -> list[Fault]:
    """These faults in order, one each `every` steps, of one rank at one point."""
    return [
        Fault(number=number, kind=kind, step=(number + 1) * every, rank=rank, point=point)
        for number, kind in enumerate(kinds)
    ]


def random_plan(count: int, *, first: int, every: int, ranks: int, seed: int, kinds: Sequence[Kind]) -> list[Fault]:
    """`count` faults, one each `every` steps from step `first` on, of random kinds at random points of random ranks."""
    draw = random.Random(seed)
    return [
        Fault(
            number=number,
            kind=draw.choice(kinds),
            step=first + number * every,
            rank=draw.randrange(ranks),
            point=draw.choice(get_args(Point)),
        )
        for number in range(count)
    ]
