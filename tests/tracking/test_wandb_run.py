"""The offline files of Weights & Biases, written by its own program and read by their format."""

import contextlib
import json
import struct
import threading
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import pytest
from PIL import Image

from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.config import TrackingConfig
from cyclegan_dist.tracking.journal import Journal, append
from cyclegan_dist.tracking.sender_state import SenderState, key_of

wandb = pytest.importorskip("wandb")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
BLOCK, HEADER = 32 * 1024, 7  # bytes: of the log's format, which is LevelDB's
SET = threading.Event()
SET.set()


def records(path: Path) -> list[Any]:
    """The records of a .wandb file, which may go on in the next block."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, body, found = path.read_bytes(), HEADER, b"", []
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        body += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # whole, or the last part
            found.append(Record.FromString(body))
            body = b""
    return found


def rows(run_dir: Path) -> list[dict[str, Any]]:
    """The rows of all its files, in order."""
    found = []
    for path in sorted(run_dir.glob("wandb/offline-run-*/*.wandb")):
        for record in records(path):
            if record.HasField("history"):
                items = record.history.item
                found.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return found


def test_a_run_and_its_continuation_are_written_offline_each_row_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from cyclegan_dist.training.sender import send

    monkeypatch.setenv("WANDB_MODE", "offline")
    run_dir = tmp_path / "run"
    (run_dir / "samples").mkdir(parents=True)
    Image.new("RGB", (6, 4)).save(run_dir / "samples" / "nimg-000000008.png")
    with Journal(run_dir) as journal:
        journal.write("run", config={"optim.lr": 0.1}, data=[], nimg=0, total=100)
        for step in (1, 2):
            journal.write("metrics", step=step, nimg=4 * step, values={"loss/G": step / 2})
        journal.write("image", step=2, key="samples", path="samples/nimg-000000008.png")
        journal.write("image", step=3, key="samples", path="samples/nimg-000000012.png")  # which is not there
    config = TrackingConfig(mlflow=False, wandb="team/horses")
    SenderState("team/horses", key_of(run_dir), run_id="offline-run-torn").save(run_dir, "wandb")
    (run_dir / "wandb" / "offline-run-torn").mkdir(parents=True)  # of a sender that was killed
    assert send(run_dir, config, SET)
    append(run_dir, "evaluation", step=1, nimg=4, values={"kd/x_AB": 0.25})
    append(run_dir, "end", status="FINISHED")
    assert send(run_dir, config, SET) and send(run_dir, config, SET)
    found = rows(run_dir)
    assert [(row["_step"], row["images"]) for row in found] == [(0, 4), (1, 8), (2, 8), (3, 4)]
    assert [row.get("loss/G") for row in found] == [0.5, 1.0, None, None]
    assert found[2]["samples/_type"] == "image-file" and found[3]["kd/x_AB"] == 0.25
    files = [records(path) for path in run_dir.glob("wandb/offline-run-*/*.wandb")]
    assert (
        len(files) == 2 and not (run_dir / "wandb" / "offline-run-torn").exists()
    )  # the last sender had nothing to send
    runs = [record.run for file in files for record in file if record.HasField("run")]
    assert {(run.project, run.entity, run.display_name) for run in runs} == {("horses", "team", "run")}
    assert len({run.run_id for run in runs}) == 1
    assert "optim.lr" in str(files)
    err = capfd.readouterr().err
    assert "nimg-000000012.png is not sent to Weights & Biases" in err and err.count("\n") == 1


def test_a_failure_is_one_line_and_other_destinations_get_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from cyclegan_dist.training import sender

    def refuse(*args: object, **kwargs: object) -> None:
        raise wandb.Error("api_key not configured\nand more")

    monkeypatch.setattr(wandb, "init", refuse)
    monkeypatch.setattr(sender, "PAUSE_S", 0.0)
    with Journal(tmp_path) as journal:
        journal.write("run", config={"optim.lr": 0.1}, data=[], nimg=0, total=100)
    assert not sender.send(tmp_path, TrackingConfig(mlflow=False, tensorboard=True, wandb="horses"), SET)
    lines = capfd.readouterr().err.splitlines()
    assert lines[-1] == "error: project horses of Weights & Biases did not accept the run: api_key not configured"
    assert len(list(RunFolder(tmp_path).event_files.iterdir())) == 1


def test_the_state_is_written_when_all_has_arrived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a process that is killed are lost, although it has handed them over."""
    from cyclegan_dist.tracking.destination import send_journal
    from cyclegan_dist.tracking.wandb_run import WandbRun

    run = Mock(offline=False, finish=Mock(side_effect=[wandb.Error("no connection"), None]))
    monkeypatch.setattr(wandb, "init", lambda **_: run)
    with Journal(tmp_path) as journal:
        journal.write("run", config={"optim.lr": 0.1}, data=[], nimg=0, total=100)
        journal.write("metrics", step=1, nimg=4, values={"loss/G": 0.5})
    for _ in range(2):
        found = WandbRun(tmp_path, "horses")
        send_journal(RunFolder(tmp_path).journal, found, SET)
        assert SenderState.read(tmp_path, "wandb").offset == 0
        with contextlib.suppress(wandb.Error):
            found.close()
    assert run.log.call_count == 2 and run.log.call_args == call({"images": 4, "loss/G": 0.5}, step=0, commit=True)
    assert SenderState.read(tmp_path, "wandb").offset == RunFolder(tmp_path).journal.stat().st_size
