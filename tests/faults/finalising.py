"""Drill G21: a run is killed at any point of its last steps and its end, and the command is repeated."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torchvision.utils
from PIL import Image

from cyclegan_dist.config.config import Config
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.tracking.journal import Journal
from tests.faults.forked_processes import in_fork, kill_at
from tests.faults.matrix import Measured, Stage, row
from tests.training.trainings import differences, final_state, go, records

OPERATIONS = ((os, "rename"), (os, "replace"), (os, "fsync"), (Journal, "write"))
EVERY = {"every__samples": 8, "every__snapshot": 16, "every__checkpoint": 8, "every__log": 12, "stop_after": 20}


def kill_in_image(call: int) -> None:
    """Be killed in the middle of the `call`-th image."""
    write, seen = torchvision.utils.save_image, []

    def half(images: Any, path: Path) -> None:
        write(images, path)
        seen.append(path)
        if len(seen) > call:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            os.kill(os.getpid(), 9)

    torchvision.utils.save_image = half


def content(config: Config) -> dict[str, Any]:
    """What a finished run has recorded, and whether its files are whole; measured times and clocks left out."""
    found = records(config)
    values = {
        (r["step"], key): value if not key.startswith("perf/") else None
        for r in found
        if r["kind"] == "metrics"
        for key, value in r["values"].items()
    }
    images = sorted(r["path"] for r in found if r["kind"] == "image")
    for path in (config.run_dir / "samples").iterdir():
        Image.open(path).load()
        assert str(path.relative_to(config.run_dir)) in images, path
    snapshots = sorted((r["path"], r["final"]) for r in found if r["kind"] == "snapshot")
    for path, _ in snapshots:
        Snapshot.open(config.run_dir / path).generator("AB")
    return {"values": values, "images": images, "snapshots": snapshots, "end": found[-1].get("status")}


@row(
    "G21",
    "a run is killed anywhere in its last steps and its end, and the same command is repeated",
    "everything is there as in an undisturbed run: losses, learning rates, images, snapshots, the final model",
    slow=True,
)
def killed_in_the_end(stage: Stage) -> Measured:
    whole = stage.run(name="whole", **EVERY)
    assert go(whole) == "FINISHED"
    expected, state = content(whole), final_state(whole, 1)
    count = counted(stage)
    # The first operations open the run; each later one is a place to be killed at.
    places = range(count) if stage.thorough else sorted(stage.random.sample(range(count // 2, count), 3))
    kills: list[Callable[[], None]] = [lambda call=call: kill_at(call, *OPERATIONS) for call in places]
    kills += [lambda call=call: kill_in_image(call) for call in range(3 if stage.thorough else 1)]
    same = killed = equal = 0
    wrong: set[str] = set()
    for number, kill in enumerate(kills):
        config = stage.run(name=f"killed{number}", **EVERY)

        def train(config: Config = config, kill: Callable[[], None] = kill) -> None:
            kill()
            go(config)

        killed += in_fork(train) == -9
        assert go(stage.run(name=f"killed{number}", **EVERY)) == "FINISHED"
        found = content(config)
        wrong |= {key for key in expected if found[key] != expected[key]}
        same += found == expected
        equal += differences(state, final_state(config, 1)) == []
    figure = (
        f"killed {killed} of {len(kills)} ({len(kills) - len(places)} in an image): all {len(expected['values'])} "
        f"values, {len(expected['images'])} images and {len(expected['snapshots'])} snapshots, the final one named: "
        f"{same} of {len(kills)}; bit-identical {equal}{'; wrong: ' + ', '.join(sorted(wrong)) if wrong else ''}"
    )
    return Measured(figure, killed == same == equal == len(kills))


def counted(stage: Stage) -> int:
    """The number of `OPERATIONS` in the run, counted in a process of its own."""
    report, config = stage.folder / "count", stage.run(name="counted", **EVERY)

    def train() -> None:
        count = 0

        def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
            def counting(*args: Any, **kwargs: Any) -> Any:
                nonlocal count
                count += 1
                return original(*args, **kwargs)

            return counting

        for owner, name in OPERATIONS:
            setattr(owner, name, wrap(getattr(owner, name)))
        go(config)
        report.write_text(str(count))

    assert in_fork(train) == 0
    return int(report.read_text())
