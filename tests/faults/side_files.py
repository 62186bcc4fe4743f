"""Drills G24 and G25: a full disk at the end of a run and in the journal, and flipped bits in small files."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cyclegan_dist.checkpoint.identity import run_id
from cyclegan_dist.checkpoint.storage import storage_at
from cyclegan_dist.checkpoint.store import CheckpointStore
from cyclegan_dist.config.changes import refuse_changes
from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.checked import read_checked, write_checked
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import Journal, append, read_records, recorded_identity
from cyclegan_dist.tracking.sender_state import SenderState, key_of
from cyclegan_dist.training.hooks import quarantine
from cyclegan_dist.training.run_folder import read_config
from tests.faults.forked_processes import in_fork, limit_file_size
from tests.faults.matrix import Measured, Stage, row
from tests.training.trainings import go, records


@row(
    "G24",
    "the disk is full: when the last checkpoint is written, and for lines of the journal from two processes",
    "the run says that its last checkpoint is missing and does not exit with 0; no line of the journal is torn or joined",
)
def full(stage: Stage) -> Measured:
    config = stage.run()
    report = stage.folder / "report"

    def train() -> None:
        save = CheckpointStore.save

        def limited(self: CheckpointStore, step: int, *args: Any, **kwargs: Any) -> None:
            if step >= 16:
                limit_file_size(30_000)  # the journal still fits
            save(self, step, *args, **kwargs)

        CheckpointStore.save = limited  # type: ignore[method-assign]
        try:
            report.write_text(go(config))
        except UsageError as error:
            report.write_text(str(error))
            os._exit(2)

    code = in_fork(train)
    said, status = report.read_text(), records(config)[-1]["status"]
    resumed = go(stage.run())

    folder = stage.folder / "journal"

    def write() -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the limit would count for it, where it is a file
        with Journal(folder) as journal:
            for step in range(60):
                limit_file_size(1000 + stage.random.randrange(3000))  # a different part of a line fits each time
                journal.write("metrics", step=step, nimg=step, values={"x": 0.5})
                try:
                    append(folder, "failure", text=f"of step {step}", ranks=[0])
                except OSError as error:
                    assert error.errno in (errno.ENOSPC, errno.EFBIG)

    assert in_fork(write) == 0
    lines = (folder / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    broken = sum(not line.endswith(b"\n") or not _is_json(line) for line in lines)
    whole = len(list(read_records(folder / "metrics.jsonl", 0)))
    told = "last checkpoint, of step 20, was not written" in said and "\n" not in said
    return Measured(
        f"last checkpoint: exit code {code}, said so in one line {told}, status {status}, then resumed: {resumed}; "
        f"journal: {whole} lines of 120 fit, torn or joined {broken}",
        code == 2 and told and status == "FAILED" and resumed == "FINISHED" and not broken and 0 < whole < 120,
    )


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


@row(
    "G25",
    "a bit flips in a small file of the run folder",
    "no traceback; detected and recovered, or refused in one line; never silently another run",
)
def flips(stage: Stage) -> Measured:
    config = stage.run(stop_after=8)
    go(config)
    run_dir, folder = config.run_dir, RunFolder(config.run_dir)
    SenderState("sqlite:////x/mlflow.db", key_of(run_dir), "0f" * 16, 1234).save(run_dir)
    write_checked(folder.best, {"snapshot": "snapshots/nimg-000000008", "figure": "kd/untrained", "value": 0.5})
    folder.bad_samples.write_text(
        "".join(
            json.dumps({"domain": d, "key": f"k{i}", "shard": "s", "reason": "r"}) + "\n" for d in "AB" for i in (1, 2)
        )
    )  # of an older version, without checksums
    storage, own, sent = storage_at(config.checkpoint_path), recorded_identity(run_dir), SenderState.read(run_dir)
    known = [record for record, _ in read_records(folder.journal, 0)]
    samples, best = quarantine.read_known(folder.bad_samples), read_checked(folder.best)

    def journal_kept() -> bool:
        found = [record for record, _ in read_records(folder.journal, 0)]
        with Journal(run_dir) as journal:
            journal.message("opened")
        return all(record in known for record in found) and key_of(run_dir) == sent.key

    readers: dict[Path, Callable[[], bool]] = {
        folder.config: lambda: bool(refuse_changes(config, read_config(run_dir)) or read_config(run_dir)),
        folder.bad_samples: lambda: len(quarantine.read_known(folder.bad_samples) - samples) <= 1,
        folder.sender_state: lambda: SenderState.read(run_dir) in (sent, SenderState()),
        folder.journal: journal_kept,
        folder.best: lambda: {**best, **read_checked(folder.best)} == {**read_checked(folder.best), **best},
        folder.identity: lambda: run_id(run_dir, storage, own, seed=0, config="") == own,
    }
    flipped = stage.times(30, 400)
    parts: list[str] = []
    bad = 0
    for path, reads in readers.items():
        whole, refused, tracebacks, other = path.read_bytes(), 0, 0, 0
        for _ in range(flipped):
            data = bytearray(whole)
            data[stage.random.randrange(len(data))] ^= 1 << stage.random.randrange(8)
            path.write_bytes(data)
            try:
                other += not reads()
            except (UsageError, ValueError) as error:
                refused += 1
                tracebacks += "\n" in str(error) and path != folder.config  # a list of changed keys has several lines
                tracebacks += not isinstance(error, UsageError) and path != folder.best
            except Exception:
                tracebacks += 1
            path.write_bytes(whole)
        bad += tracebacks + other
        parts.append(f"{path.name} refused {refused}, tracebacks {tracebacks}, another content {other}")
    shutil.rmtree(run_dir)
    return Measured(f"{flipped} flips in each: " + "; ".join(parts), not bad)
