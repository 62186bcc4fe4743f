"""The offline files of Weights & Biases, written by its own program and read by their format."""

import json
import struct
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.config import TrackingConfig
from cyclegan_dist.tracking.journal import Journal, append

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
    assert send(run_dir, config, SET)
    append(run_dir, "evaluation", step=1, nimg=4, values={"kd/x_AB": 0.25})
    append(run_dir, "end", status="FINISHED")
    assert send(run_dir, config, SET) and send(run_dir, config, SET)
    found = rows(run_dir)
    assert [(row["_step"], row["images"]) for row in found] == [(0, 4), (1, 8), (2, 8), (3, 4)]
    assert [row.get("loss/G") for row in found] == [0.5, 1.0, None, None]
    assert found[2]["samples/_type"] == "image-file" and found[3]["kd/x_AB"] == 0.25
    files = [records(path) for path in run_dir.glob("wandb/offline-run-*/*.wandb")]
    assert len(files) == 2  # the last sender had nothing to send
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
    assert lines[-1] == "error: Weights & Biases, project horses, did not accept the run: api_key not configured"
    assert len(list(RunFolder(tmp_path).event_files.iterdir())) == 1
