"""Folders of runs that look as trainings leave them, without any training."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cyclegan_dist.checkpoint.manifest import SHARED, dump_manifest, rank_file
from cyclegan_dist.checkpoint.storage import LocalStorage
from cyclegan_dist.config.config import Config, check_config, dump_config
from cyclegan_dist.storage.checked import write_checked
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import Journal
from tests.conftest import TINY
from tests.service.running import make_snapshot

STEPS = (2, 4, 6, 8)


def make_run(path: Path, end: str = "FINISHED", best: int = 0, scores: Sequence[float] = (), **changes: Any) -> Path:
    """A run with a checkpoint and a snapshot after each of `STEPS`; the snapshot of step `best` is the best one."""
    folder, config = RunFolder(path), check_config(TINY, "test")
    path.mkdir(parents=True)
    folder.config.write_text(dump_config(replace(config, name=path.name, runs_dir=str(path.parent), **changes)))
    write_checked(folder.identity, {"run": "0123456789ab"})
    for number, step in enumerate(STEPS):
        write_checkpoint(folder.checkpoints, step, scores[number] if scores else None)
        shutil.copytree(_snapshot(path.parent.parent / "made", step), folder.snapshot(2 * step))
    if best:
        write_checked(folder.best, {"snapshot": f"snapshots/nimg-{2 * best:09d}", "figure": "eval/kd", "value": 0.5})
    with Journal(path) as journal:
        journal.write("run", config={"every.log": 4}, data=[], nimg=0, total=16)
        if end:
            journal.write("end", status=end)
    folder.lock.touch()
    return path


def write_checkpoint(path: Path, step: int, score: float | None = None, run: str = "0123456789ab") -> None:
    storage, files = LocalStorage(path), {}
    for name in (SHARED, rank_file(0)):
        content = f"{name} of step {step}".encode() * 50
        with storage.create(step, "attempt", name) as file:
            file.write(content)
        files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    facts = {"step": step, "nimg": 2 * step, "world_size": 1, "attempt": "attempt", "versions": {}, "score": score}
    storage.commit(step, "attempt", dump_manifest({**facts, "run": run, "files": files}), list(files))


def _snapshot(made: Path, step: int) -> Path:
    """A snapshot whose card names the step, made once for all runs of a folder."""
    folder = made / str(step)
    if not folder.exists():
        make_snapshot(folder, seed=step)
        card = folder / "card.json"
        card.write_text(card.read_text().replace('"nimg": 40', f'"nimg": {2 * step}, "step": {step}'))
    return folder


def config_of(**changes: Any) -> Config:
    """The tiny config with other values of its dotted keys, for `make_run`."""
    tree = {key: dict(value) if isinstance(value, dict) else value for key, value in TINY.items()} | {"held_out": {}}
    for key, value in changes.items():
        part, _, leaf = key.partition("__")
        tree[part][leaf] = value
    return check_config(tree, "test")


def contents(root: Path) -> dict[str, str]:
    """A hash of each file and the target of each link below a folder, by path."""
    found: dict[str, str] = {}
    for base, folders, files in os.walk(root):
        for path in (Path(base, name) for name in (*folders, *files)):
            if path.is_symlink():
                found[str(path)] = os.readlink(path)
            elif path.is_file():
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
