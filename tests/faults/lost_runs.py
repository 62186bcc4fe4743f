"""Drills G2 and G3: a run is deleted in MLflow while it trains, and MLflow refuses records."""

import json
import os
import subprocess
import sys
from pathlib import Path

from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import append
from cyclegan_dist.tracking.sender_state import SenderState
from tests.faults.matrix import Measured, Stage, row
from tests.faults.mlflow_server import MlflowServer, server_and_proxy
from tests.faults.tracked_training import Training, delivery
from tests.faults.tracking import sync

REFUSED = "a" * 300  # MLflow takes metric names of 250 characters


@row(
    "G2",
    "a run is deleted in MLflow while it trains; then restored; then deleted for good by `mlflow gc`",
    "the training goes on; what to do is printed; after the restoration the rest is sent; after the final deletion all is "
    "sent as a new run",
    slow=True,
    nightly=True,
)
def run_deleted(stage: Stage) -> Measured:
    server, proxy = server_and_proxy()
    proxy.set_mode("pass")
    training = Training(stage, proxy.uri, "g2", epochs=10000)
    training.until(lambda: training.sent > 5000)
    run_id = SenderState.read(training.run_dir).run_id
    server.call("runs/delete", run_id=run_id)
    nimg = training.nimg
    training.until(lambda: training.nimg > nimg + 100)
    code = training.stop()
    in_trash = sync(training)
    cure = f"mlflow runs restore --run-id {run_id}" in in_trash.stderr
    server.call("runs/restore", run_id=run_id)
    restored = sync(training)
    sent = delivery(server, training.run_dir)
    server.call("runs/delete", run_id=run_id)
    _delete_for_good(server, run_id)
    again = sync(training)
    as_new, new_id = delivery(server, training.run_dir), SenderState.read(training.run_dir).run_id
    figure = (
        f"training {code}; sync of a run in the trash: exit code {in_trash.returncode}, cure named {cure}; restored: exit code "
        f"{restored.returncode}, {sent}; deleted for good: exit code {again.returncode}, another run {new_id != run_id}, "
        f"{as_new}"
    )
    codes = (code, in_trash.returncode, restored.returncode, again.returncode)
    return Measured(figure, codes == (143, 2, 0, 0) and cure and sent.exact and as_new.exact and new_id != run_id)


def _delete_for_good(server: MlflowServer, run_id: str) -> None:
    command = [str(Path(sys.executable).parent / "mlflow"), "gc", "--run-ids", run_id]
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{server.port}"}
    command += ["--backend-store-uri", server.database]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)


@row(
    "G3",
    "MLflow refuses records: metrics whose names have 300 characters, some without a number as their value",
    "they are kept in the run's folder, with one line for each metric; all others are sent once, also after the sender was "
    "killed and its state lost",
    slow=True,
    nightly=True,
)
def records_refused(stage: Stage) -> Measured:
    server, proxy = server_and_proxy()
    proxy.set_mode("pass")
    training = Training(stage, proxy.uri, "g3", epochs=10000)
    count = stage.times(2, 20)
    for number in range(count):
        sent = training.sent
        training.until(lambda sent=sent: training.sent > sent + 1000)
        append(
            training.run_dir, "metrics", step=number, nimg=2 * number, values={REFUSED: 1.0, "text": "x", "good": 1.0}
        )
    code = training.stop()
    first = delivery(server, training.run_dir, (REFUSED, "text"))
    lines = training.printed.count("MLflow refuses metric")
    RunFolder(training.run_dir).sender_state.write_text(json.dumps({"store": proxy.uri}))
    again = sync(training)
    second = delivery(server, training.run_dir, (REFUSED, "text"))
    kept = [json.loads(line) for line in RunFolder(training.run_dir).refused.read_text().splitlines()]
    figure = (
        f"{count} records with two refused metrics each: exit code {code}, {first}; kept {len(kept)}, lines printed {lines}; "
        f"all sent again: exit code {again.returncode}, {second}, kept {len(kept)}"
    )
    right = (code, again.returncode, len(kept), lines) == (143, 0, 2 * count, 2)
    return Measured(figure, right and first.exact and second.exact)
