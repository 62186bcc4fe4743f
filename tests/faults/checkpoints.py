"""Drills G20, G22 and G26: checkpoints that are damaged when old ones are removed, of another run, or made up."""

import itertools
import shutil
from pathlib import Path
from typing import Any

import torch

from cyclegan_dist.checkpoint.identity import Identity
from cyclegan_dist.checkpoint.storage import LocalStorage
from cyclegan_dist.checkpoint.store import CheckpointStore
from cyclegan_dist.errors import UsageError
from tests.faults.matrix import Measured, Stage, row
from tests.faults.resuming import newest, rewrite
from tests.faults.storage import restored_step, save, store
from tests.training.trainings import ALONE, differences, final_state, go, records

FILES = ("shared.pt", "rank-00000.pt", "manifest.json")


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(data if how == "flip" else data[: len(data) // 2])


@row(
    "G20",
    "the newest checkpoint is damaged on disk, and fewer are to be kept after a resume",
    "the one just saved is never deleted; damaged ones are set aside by name and do not count among the newest",
)
def pruned(stage: Stage) -> Measured:
    cases = list(itertools.product(FILES, ("flip", "cut", "gone"), (1, 2)))
    restorable = aside = 0
    for number, (name, how, keep) in enumerate(cases):
        folder = stage.folder / str(number)
        save(folder, 10, 20, 30)
        damage(folder / "step-000000030" / name, how)
        resumed = store(folder, keep)
        assert resumed.load_latest() is not None
        state = {"w": torch.full((500,), 25.0), "nested": [torch.arange(26)]}
        resumed.save(25, state, {}, nimg=25)
        resumed.wait()
        restorable += restored_step(folder) == 25
        left = sorted(path.name for path in folder.iterdir())
        expected = [f"step-{step:09d}" for step in (20, 25)[-keep:]]
        aside += left == ["damaged-step-000000030", *expected]
    return Measured(
        f"after one save restorable {restorable} of {len(cases)}, set aside {aside} of {len(cases)} "
        "(3 files flipped, cut or missing; keep_checkpoints 3 -> 1 and 2)",
        restorable == aside == len(cases),
    )


def without_identity(manifest: dict[str, Any]) -> None:
    """As before version 0.2."""
    for key in ("run", "seed", "config"):
        del manifest[key]


@row(
    "G22",
    "a checkpoint of another run is copied into the run's folder",
    "passed over in one line, and the result is bit-identical; copies of a whole folder and older checkpoints resume",
)
def foreign(stage: Stage) -> Measured:
    whole = stage.run(name="whole")
    go(whole)
    passed_over, equal, reasons = 0, 0, []
    others = ({"seed": 1}, {})  # another seed; the same config, but another run
    for number, other in enumerate(others):
        theirs = stage.run(name=f"theirs{number}", stop_after=24, **other)
        go(theirs)
        own = {"name": f"own{number}"}
        go(stage.run(stop_after=8, **own))
        ours = stage.run(**own)
        shutil.copytree(newest(theirs), ours.run_dir / "checkpoints" / newest(theirs).name)
        go(ours)
        texts = [r["text"] for r in records(ours) if "is of another run" in r.get("text", "")]
        passed_over += len(texts) == 1 and "\n" not in texts[0]
        reasons += [text.partition("(")[2].partition(")")[0] for text in texts]
        equal += differences(final_state(whole, 1), final_state(ours, 1)) == []
    accepted = 0
    first = stage.run(name="first", stop_after=8)
    go(first)
    for name in ("copied", "older"):
        shutil.copytree(first.run_dir, first.run_dir.with_name(name))
    copied = stage.run(name="copied")
    rewrite(newest(stage.run(name="older", stop_after=8)), without_identity)
    for config in (copied, stage.run(name="older")):
        go(config)
        accepted += any("resumed at step 4" in r.get("text", "") for r in records(config))
        equal += differences(final_state(whole, 1), final_state(config, 1)) == []
    figure = (
        f"passed over in one line {passed_over} of {len(others)} ({'; '.join(reasons)}); copied folder and checkpoint "
        f"without identity resumed {accepted} of 2; bit-identical in the end {equal} of 4"
    )
    return Measured(figure, passed_over == len(others) and accepted == 2 and equal == 4)


HOSTILE: dict[str, tuple[Any, ...]] = {
    "step": (None, "2", 1.5, True, -1, [2], {}),
    "nimg": (None, "2", -1, []),
    "world_size": (None, "1", 0, -1, 2, 10**12, 1.0, [1], True),
    "attempt": (None, 7, "", "../../x", "a/b", [], {}),
    "files": (None, [], "x", {}, {"shared.pt": None}, {"shared.pt": {"sha256": 1, "bytes": "x"}}),
    "versions": (None, [], "x", {"torch": 1}),
    "score": ("low", [], {}),
    "seconds": (None, [], {"total": "x"}),
    "run": (1, None, [], {}),
    "seed": ("0", None, []),
}


@row(
    "G26",
    "fields of a checkpoint's manifest have other types or values, and its hash is right",
    "the checkpoint before it is taken",
)
def hostile(stage: Stage) -> Measured:
    identity = Identity("ab12", 0, "digest")

    def opened(folder: Path) -> CheckpointStore:
        return CheckpointStore(LocalStorage(folder), ALONE, keep=3, warn=lambda text: None, identity=identity)

    folder, cases, fallen_back, errors = stage.folder / "c", 0, 0, 0
    original = opened(folder)
    for step in (1, 2):
        original.save(step, {"w": torch.ones(3)}, {}, nimg=step)
        original.wait()
    manifest = (folder / "step-000000002" / "manifest.json").read_bytes()
    for key, values in HOSTILE.items():
        for value in values:
            rewrite(folder / "step-000000002", lambda m, key=key, value=value: m.update({key: value}))
            cases += 1
            try:
                restored = opened(folder).load_latest()
                fallen_back += restored is not None and restored.step == 1
            except UsageError:
                pass
            except Exception:
                errors += 1
            (folder / "step-000000002" / "manifest.json").write_bytes(manifest)
    taken = opened(folder).load_latest()
    return Measured(
        f"fell back {fallen_back} of {cases}, other errors {errors}; unmodified one taken: {taken and taken.step == 2}",
        fallen_back == cases and not errors and taken is not None and taken.step == 2,
    )
