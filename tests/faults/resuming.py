"""Drills B3 and B7 to B12: resuming with other options, data, versions or a modified checkpoint."""

import copy
import dataclasses
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cyclegan_dist.checkpoint.restore import Restored
from cyclegan_dist.config.changes import SAFE_TO_CHANGE, refuse_changes
from cyclegan_dist.config.config import Config, check_config
from cyclegan_dist.config.yaml_tree import flatten
from cyclegan_dist.errors import UsageError
from cyclegan_dist.training.run_folder import locked
from tests.config.test_config import moved
from tests.faults.forked_processes import in_fork
from tests.faults.matrix import Measured, Stage, row
from tests.faults.storage import store
from tests.training.trainings import final_state, go, records

# Options of a method without which another one cannot be changed.
NEEDED: dict[str, dict[str, Any]] = {
    "method.input_nc": {"method": {"lambda_identity": 0}},
    "method.output_nc": {"method": {"lambda_identity": 0}},
    "method.lambda_cycle_end": {"method": {"cycle_ramp_images": 1}},
    "method.lambda_cycle_features": {"method": {"cycle_distance": "features"}},
    "method.gradient_penalty.weight": {"method": {"gradient_penalty": {"at": "real"}}},
    "data.A": {"data": {"A": "a", "B": "b"}},
    "data.B": {"data": {"A": "a", "B": "b"}},
}


@row("B7", "two trainings with the same name", "the second is refused; the lock of a dead process is free")
def same_name(stage: Stage) -> Measured:
    config, refused = stage.run(), 0

    def exit_with_lock() -> None:
        with locked(config):
            os._exit(9)

    with locked(config):
        for _ in range(3):
            try:
                with locked(config):
                    pass
            except UsageError as error:
                refused += "in training already" in str(error)
    code = in_fork(exit_with_lock)
    with locked(config):
        free = True
    return Measured(
        f"refused {refused} of 3; free again after the process with the lock exited with {code}: {free}",
        refused == 3 and free,
    )


@row(
    "B8",
    "the configuration differs when a run is resumed",
    "changes that affect what is learned are refused, with the difference",
)
def config_changed(stage: Stage) -> Measured:
    flat, right = flatten(dataclasses.asdict(Config())), 0
    del flat["method.name"]  # another method has other keys
    for key, value in flat.items():
        tree = copy.deepcopy(NEEDED.get(key, {}))
        start = check_config(tree, "start")
        *parents, leaf = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = moved(value, key)
        safe = any(key == s or key.startswith(f"{s}.") for s in SAFE_TO_CHANGE)
        try:
            refuse_changes(start, check_config(tree, "test"))
            right += safe
        except UsageError as error:
            right += not safe and f"{key}: " in str(error)
    return Measured(f"right decision for {right} of {len(flat)} keys", right == len(flat))


@row("B9", "the data set differs when a run is resumed", "refused")
def data_changed(stage: Stage) -> Measured:
    from cyclegan_dist.data.shards import write_dataset
    from cyclegan_dist.data.synthetic import draw_domain

    go(stage.run(stop_after=8))
    refused = 0
    changes = [(10, 0, 5), (9, 0, 5), (10, 1, 5), (10, 0, 4)]  # images, seed, images in a shard
    for number, (count, seed, each) in enumerate(changes):
        images = {d: draw_domain(d, count, seed=seed, size=24) for d in "AB"}
        write_dataset(images, stage.folder / f"other{number}", samples_per_shard=each)
        try:
            go(stage.run(data__path=str(stage.folder / f"other{number}")))
        except UsageError as error:
            refused += "is not the data set that run" in str(error)
    return Measured(f"refused {refused} of {len(changes)}", refused == len(changes))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None], **parts: Any) -> None:
    """Change a checkpoint's manifest and files, and update all hashes."""
    manifest = json.loads((folder / "manifest.json").read_text())["checkpoint"]
    for stem, content in parts.items():
        name = {"shared": "shared.pt", "rank": "rank-00000.pt"}[stem]
        buffer = io.BytesIO()
        torch.save(content, buffer)
        (folder / name).write_bytes(buffer.getvalue())
        entry = {"sha256": hashlib.sha256(buffer.getvalue()).hexdigest(), "bytes": len(buffer.getvalue())}
        manifest["files"][name] = entry
    change(manifest)
    digest = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
    text = json.dumps({"checkpoint": manifest, "sha256": digest}, indent=1) + "\n"
    (folder / "manifest.json").write_text(text)


def newest(config: Config) -> Path:
    return max((config.run_dir / "checkpoints").glob("step-*"))


@row(
    "B10",
    "the checkpoint is from another version of torch or of this program",
    "resumed, with a notice that results may not be bit-identical",
)
def other_versions(stage: Stage) -> Measured:
    reported = []
    for key in ("torch", "program"):
        config = stage.run(name=key, stop_after=8)
        go(config)
        rewrite(newest(config), lambda manifest, key=key: manifest["versions"].update({key: "0.1"}))
        go(stage.run(name=key))
        reported.append(any("bits may differ" in r.get("text", "") for r in records(config)))
    return Measured(f"reported {sum(reported)} of {len(reported)}", all(reported))


class Payload:
    """Object that runs a command when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@row("B11", "a checkpoint contains code, and its hashes are right", "no code is run; the checkpoint is refused")
def malicious(stage: Stage) -> Measured:
    config, mark = stage.run(stop_after=8), stage.folder / "executed"
    go(config)
    shared, rank = final_state(config, 1)
    payload = Payload(mark)
    cases = {
        "weight": {"shared": {**shared, "step": {**shared["step"], "networks": {"x": payload}}}},
        "moment": {"shared": {**shared, "step": {**shared["step"], "optimizers": {"G": payload}}}},
        "generator": {"rank": {"method": {"A": {"images": [], "rng": payload}}}},
        "image": {"rank": {"method": {"A": {"images": [payload], "rng": None}}}},
        "key": {"shared": {payload: 1}},
        "array": {"shared": {**shared, "data": np.array([payload], dtype=object)}},
    }
    refused = 0
    whole = store(config.run_dir / "checkpoints").load_latest() is not None
    for parts in cases.values():
        rewrite(newest(config), lambda manifest: None, **{"shared": shared, "rank": rank, **parts})
        refused += restored(config) is None
    return Measured(
        f"code run {int(mark.exists())}, refused {refused} of {len(cases)}, unmodified checkpoint accepted: {whole}",
        not mark.exists() and refused == len(cases) and whole,
    )


def restored(config: Config) -> Restored | None:
    try:
        return store(config.run_dir / "checkpoints").load_latest()
    except UsageError:
        return None


@row("B12", "a checkpoint of other networks: other names, shapes or parts", "refused, with what does not match")
def misfit(stage: Stage) -> Measured:
    config = stage.run(stop_after=8)
    go(config)
    shared, rank = final_state(config, 1)
    networks = shared["step"]["networks"]
    first = next(iter(networks))
    cases = [
        {"networks": {f"{key}x": value for key, value in networks.items()}},
        {"networks": {key: value for key, value in networks.items() if key != first}},
        {"networks": {**networks, "more": torch.zeros(1)}},
        {"networks": {**networks, first: torch.zeros(1, 1)}},
        {"networks": {key.replace("G_AB", "D_B"): value for key, value in networks.items()}},
        {"optimizers": {"G": shared["step"]["optimizers"]["G"]}},
    ]
    refused = 0
    for case in cases:
        rewrite(newest(config), lambda m: None, shared={**shared, "step": {**shared["step"], **case}}, rank=rank)
        try:
            go(stage.run())
        except UsageError as error:
            refused += "not of this run's networks" in str(error) and "\n" not in str(error)
    return Measured(f"refused {refused} of {len(cases)}", refused == len(cases))


@row(
    "B3", "Ray's own state files of the run are truncated", "they are not read: the same command resumes", nightly=True
)
def ray_state(stage: Stage) -> Measured:
    """Ray Train writes `checkpoint_manager_snapshot.json` in place, and does not start if it is truncated."""
    config = stage.run(schedule__n_epochs=200, every__checkpoint=200, world__num_workers=2)
    temporary = stage.folder / "tmp"
    temporary.mkdir()
    environment = os.environ | {"TMPDIR": str(temporary)}
    arguments = [sys.executable, "-m", "cyclegan_dist.train", str(config.run_dir / "config.yaml")]
    first = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(config.run_dir.glob("checkpoints/step-*/manifest.json")) and time.monotonic() < deadline:
        time.sleep(0.2)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    snapshots = [path for path in temporary.rglob("*.json") if "checkpoint_manager" in path.name]
    for path in snapshots:
        path.write_bytes(path.read_bytes()[: stage.random.randrange(max(1, path.stat().st_size))])
    second = subprocess.run([*arguments, "--stop_after", "800"], env=environment, capture_output=True, text=True)
    resumed = "resumed at step" in second.stdout
    figure = f"Ray's files truncated {len(snapshots)}; exit code {second.returncode}, resumed: {resumed}"
    return Measured(figure, second.returncode == 0 and resumed)
