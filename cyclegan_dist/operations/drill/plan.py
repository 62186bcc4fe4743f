"""What is to break in a run: a file in the run's folder, which every node sees. Without the file nothing breaks."""

import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from pydantic import TypeAdapter

FOLDER, PLAN, STEPS = "drill", "plan.json", "steps.jsonl"

RankFault = Literal[
    "kill", "segfault", "abort", "exit", "exception", "system_exit", "terminate", "hang", "freeze", "hold_lock", "node"
]
DriverFault = Literal["driver_kill", "driver_terminate", "driver_interrupt"]
Point = Literal["data", "forward", "backward", "save", "saved", "step"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that breaks once.

    Attributes:
        number: its place in the plan.
        kind: what happens; `drill.harm` says how.
        step: the first step at which it may happen, from 1.
        rank: to whom; unless it happens to the driver.
        point: where in a step: before a batch is taken, in a generator's forward, while gradients are exchanged, while
            a checkpoint is written, right after one was committed, or after the step.
    """

    number: int
    kind: RankFault | DriverFault
    step: int
    rank: int = 0
    point: Point = "step"

    @property
    def hits_driver(self) -> bool:
        return self.kind in get_args(DriverFault)


def write_plan(run_dir: Path, faults: list[Fault]) -> None:
    """Make the next start of a run a drill."""
    (run_dir / FOLDER).mkdir(parents=True, exist_ok=True)
    (run_dir / FOLDER / PLAN).write_text(json.dumps([asdict(fault) for fault in faults], indent=1) + "\n")


def read_plan(run_dir: Path) -> list[Fault] | None:
    """What is to break, or None if this is no drill."""
    path = run_dir / FOLDER / PLAN
    if not path.exists():
        return None
    return TypeAdapter(list[Fault]).validate_json(path.read_bytes())


def random_plan(count: int, *, first: int, every: int, ranks: int, seed: int, kinds: list[str]) -> list[Fault]:
    """`count` faults, one each `every` steps from step `first` on, of random kinds at random points of random ranks."""
    draw = random.Random(seed)
    return [
        Fault(
            number=number,
            kind=draw.choice(kinds),  # pyright: ignore[reportArgumentType] - one of the literals
            step=first + number * every,
            rank=draw.randrange(ranks),
            point=draw.choice(get_args(Point)),
        )
        for number in range(count)
    ]
