"""Drills B1, B2 and B4 to B6: storage faults, and processes that are killed while they save a checkpoint."""

import itertools
import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from cyclegan_dist.checkpoint.storage import LocalStorage
from cyclegan_dist.checkpoint.store import CheckpointStore
from cyclegan_dist.errors import UsageError
from tests.faults.forked_processes import in_fork, kill_at, limit_file_size
from tests.faults.matrix import Measured, Stage, row
from tests.training.trainings import ALONE, go, records

FILE_OPERATIONS = ((Path, "mkdir"), (Path, "open"), (os, "fsync"), (os, "rename"), (shutil, "rmtree"), (Path, "unlink"))


def store(folder: Path, keep: int = 3) -> CheckpointStore:
    return CheckpointStore(LocalStorage(folder), ALONE, keep=keep, warn=lambda text: None)


def save(folder: Path, *steps: int, keep: int = 3) -> None:
    """Save checkpoints whose tensors contain their step."""
    kept = store(folder, keep)
    for step in steps:
        state = {"w": torch.full((500,), float(step)), "nested": [torch.arange(step + 1)]}
        kept.save(step, state, {"r": torch.zeros(40)}, nimg=step)
        kept.wait()


def restored_step(folder: Path) -> int | None:
    """The step of the restored checkpoint, after checking its content; None if there is none."""
    try:
        restored = store(folder).load_latest()
    except UsageError:
        return None
    assert restored is not None
    assert torch.equal(restored.shared["w"], torch.full((500,), float(restored.step)))
    assert torch.equal(restored.shared["nested"][0], torch.arange(restored.step + 1))
    return restored.step


def killed_while_saving(stage: Stage, before: tuple[int, ...], keep: int) -> list[int | None]:
    """Kill the process at each file operation of a save. Returns the step that is restored after each kill."""
    found = []
    for call in itertools.count():
        folder = stage.folder / f"kill-{call}"
        save(folder, *before, keep=keep)

        def save_and_be_killed(folder: Path = folder, call: int = call) -> None:
            kill_at(call, *FILE_OPERATIONS)
            save(folder, before[-1] + 1, keep=keep)

        if in_fork(save_and_be_killed) == 0:
            return found
        found.append(restored_step(folder))
        save(folder, before[-1] + 2, keep=keep)
        assert restored_step(folder) == before[-1] + 2 and not list(folder.glob(".step-*"))
    raise AssertionError


@row(
    "B1",
    "a process is killed during a save, or files are truncated",
    "the newest complete checkpoint is taken; leftovers are removed",
)
def incomplete(stage: Stage) -> Measured:
    kills = killed_while_saving(stage, (1,), keep=3)
    wrong = sum(step not in (1, 2) for step in kills)
    cuts = undetected = 0
    for name in ("shared.pt", "rank-00000.pt", "manifest.json"):
        folder = stage.folder / "cut"
        save(folder, 1, 2)
        path = folder / "step-000000002" / name
        whole = path.read_bytes()
        for _ in range(stage.times(10, 200)):
            path.write_bytes(whole[: stage.random.randrange(len(whole))])
            cuts, undetected = cuts + 1, undetected + (restored_step(folder) != 1)
        path.write_bytes(whole)
    figure = (
        f"killed at {len(kills)} of {len(kills)} calls: wrong state {wrong}; truncated at {cuts} places: undetected "
        f"{undetected}"
    )
    return Measured(figure, wrong == undetected == 0)


@row("B2", "bits flip in a checkpoint", "detected by its hash; the previous checkpoint is taken")
def bit_flips(stage: Stage) -> Measured:
    save(stage.folder / "c", 1, 2)
    files = sorted((stage.folder / "c" / "step-000000002").iterdir())
    sizes = [path.stat().st_size for path in files]
    flips, undetected, raw = stage.times(20, 200), 0, 0
    for _ in range(flips):
        (path,) = stage.random.choices(files, sizes)
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[stage.random.randrange(len(whole))] ^= 1 << stage.random.randrange(8)
        path.write_bytes(damaged)
        undetected += restored_step(stage.folder / "c") != 1
        raw += path.suffix == ".pt" and loads(path)
        path.write_bytes(whole)
    return Measured(f"undetected {undetected} of {flips} (torch.load alone accepts {raw})", undetected == 0)


def loads(path: Path) -> bool:
    try:
        torch.load(path, weights_only=True)
    except Exception:  # torch raises several types
        return False
    return True


@row(
    "B4",
    "the disk is full when a checkpoint is due",
    "training continues with warnings to its end, which is an error; the last good checkpoint is kept",
)
def disk_full(stage: Stage) -> Measured:
    config = stage.run(every__checkpoint=8)

    def train() -> None:
        original, seen = CheckpointStore.save, []

        def limited(self: CheckpointStore, step: int, *args: Any, **kwargs: Any) -> None:
            if seen:
                limit_file_size(16_000)  # the journal still fits
            seen.append(step)
            original(self, step, *args, **kwargs)

        CheckpointStore.save = limited  # type: ignore[method-assign]
        try:
            go(config)
        except UsageError as error:
            os._exit(2 if "the last checkpoint, of step 20, was not written" in str(error) else 1)

    code = in_fork(train)
    warnings = [r["text"] for r in records(config) if "was not written" in r.get("text", "")]
    left = sorted(path.name for path in (config.run_dir / "checkpoints").iterdir())
    again = go(stage.run(every__checkpoint=8))
    figure = f"exit code {code}, {len(warnings)} warnings, left: {', '.join(left)}; resumed from it: {again}"
    return Measured(figure, code == 2 and len(warnings) >= 4 and left == ["step-000000004"] and again == "FINISHED")


@row("B5", "storage is not writable or does not exist", "refused before ranks start, with what to do")
def unwritable(stage: Stage) -> Measured:
    (stage.folder / "file").touch()
    cases: list[dict[str, Any]] = [
        {"runs_dir": str(stage.folder / "file")},
        {"runs_dir": "/proc/runs"},
        {"runs_dir": "s3://bucket/runs"},
        {"checkpoints": str(stage.folder / "file")},
        {"checkpoints": "/proc/checkpoints"},
        {"checkpoints": "nonsense://bucket"},
        {"data__path": str(stage.folder / "nowhere")},
        {"data__path": "pipe:cat /etc/passwd"},
    ]
    refused, longest = 0, 0.0
    stage.dataset  # noqa: B018 - made before the clock starts
    for number, case in enumerate(cases):
        began = time.monotonic()
        try:
            stage.run(name=f"case{number}", **case)
        except UsageError as error:
            refused += "\n" not in str(error)
        longest = max(longest, time.monotonic() - began)
    return Measured(
        f"refused {refused} of {len(cases)}, at most {longest:.2f} s", refused == len(cases) and longest < 5
    )


@row(
    "B6",
    "a process is killed between removing old checkpoints and writing new ones",
    "there is always a checkpoint to restore",
)
def retention(stage: Stage) -> Measured:
    found = killed_while_saving(stage, (1, 2), keep=1)
    return Measured(f"restorable {sum(s in (2, 3) for s in found)} of {len(found)}", all(s in (2, 3) for s in found))
