"""The event file of a run, read by its format: each record once, also after kills and a lost state."""

import json
import shutil
import struct
import threading
from pathlib import Path

import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.destination import send_journal
from cyclegan_dist.tracking.event_file import EventFile, open_event_file
from cyclegan_dist.tracking.journal import Journal, append, read_records

SET = threading.Event()
SET.set()


def events(run_dir: Path) -> list[Event]:
    """All events after the format's version; checksums and lengths are checked."""
    (path,) = RunFolder(run_dir).event_files.iterdir()
    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        header = data[at : at + 8]
        (length,) = struct.unpack("<Q", header)
        body = data[at + 12 : at + 12 + length]
        sums = struct.unpack("<I", data[at + 8 : at + 12]) + struct.unpack("<I", data[at + 12 + length :][:4])
        assert sums == (masked_crc32c(header), masked_crc32c(body))
        found.append(Event.FromString(body))
        at += length + 16
    assert found[0].file_version == "brain.Event:2"
    return found[1:]


def scalars(run_dir: Path, tag: str) -> list[tuple[int, float]]:
    """The points of a curve in the file's order."""
    values = [(event.step, value) for event in events(run_dir) for value in event.summary.value]
    return [(step, value.simple_value) for step, value in values if value.tag == tag]


def send(run_dir: Path) -> None:
    with open_event_file(run_dir) as file:
        send_journal(RunFolder(run_dir).journal, file, SET)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run of three records of losses, an evaluation and a grid."""
    path = tmp_path / "run"
    (path / "samples").mkdir(parents=True)
    Image.new("RGB", (6, 4)).save(path / "samples" / "nimg-000000008.png")
    with Journal(path) as journal:
        journal.write("run", config={"optim.lr": 0.1, "name": "a|b"}, data=[], nimg=0, total=100)
        for step in (1, 2, 3):
            journal.write("metrics", step=step, nimg=4 * step, values={"loss/G": step / 2})
        journal.write("image", step=2, key="samples", path="samples/nimg-000000008.png")
        journal.write("evaluation", step=1, nimg=4, values={"kd/x_AB": 0.25})
    return path


def test_what_a_run_logs_is_shown_by_images_seen(run_dir: Path) -> None:
    send(run_dir)
    assert scalars(run_dir, "loss/G") == [(4, 0.5), (8, 1.0), (12, 1.5)]
    assert scalars(run_dir, "kd/x_AB") == [(4, 0.25)]
    found = {value.tag: (event, value) for event in events(run_dir) for value in event.summary.value}
    event, grid = found["samples"]
    assert (event.step, grid.image.width, grid.image.height) == (8, 6, 4)
    assert grid.image.encoded_image_string == (run_dir / "samples" / "nimg-000000008.png").read_bytes()
    text = found["config/text_summary"][1]
    assert text.metadata.plugin_data.plugin_name == "text"
    assert b"| optim.lr | 0.1 |\n| name | a\\|b |" in text.tensor.string_val[0]
    records = [record for record, _ in read_records(RunFolder(run_dir).journal, 0)]
    assert event.wall_time == records[4]["time"] / 1000


def test_what_is_appended_follows_and_nothing_is_there_twice(run_dir: Path) -> None:
    send(run_dir)
    send(run_dir)
    append(run_dir, "metrics", step=4, nimg=16, values={"loss/G": 2.0})
    send(run_dir)
    assert scalars(run_dir, "loss/G") == [(4, 0.5), (8, 1.0), (12, 1.5), (16, 2.0)]
    assert len(events(run_dir)) == 7


@pytest.mark.parametrize("lost", ["", "state", "file"])
def test_a_killed_sender_leaves_no_double_and_no_missing_point(run_dir: Path, lost: str) -> None:
    journal = list(read_records(RunFolder(run_dir).journal, 0))
    file = EventFile(run_dir)
    for number, (record, offset) in enumerate(journal):
        file.send(record, offset)
        if number == 2:
            file.flush()
    file._writer.write(b"no event")
    file.close()  # all is in the file, and the state is that of the third record
    (path,) = RunFolder(run_dir).event_files.iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    if lost:
        (RunFolder(run_dir).state_of("tensorboard") if lost == "state" else path).unlink()
    send(run_dir)
    assert scalars(run_dir, "loss/G") == [(4, 0.5), (8, 1.0), (12, 1.5)]
    assert len(events(run_dir)) == len(journal)


def test_a_copy_under_another_name_has_one_file_of_its_own(run_dir: Path, tmp_path: Path) -> None:
    send(run_dir)
    copy = Path(shutil.copytree(run_dir, tmp_path / "copy"))
    (RunFolder(copy).event_files / "events.out.tfevents.1.cyclegan_dist").touch()  # of a run that was there before
    append(copy, "metrics", step=4, nimg=16, values={"loss/G": 2.0})
    send(copy)
    assert len(scalars(copy, "loss/G")) == 4 and len(scalars(run_dir, "loss/G")) == 3


def test_a_grid_that_is_gone_is_left_out_with_a_line(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_dir / "samples" / "nimg-000000008.png").unlink()
    send(run_dir)
    assert len(events(run_dir)) == 5
    assert "nimg-000000008.png is not written for TensorBoard" in capsys.readouterr().err
    state = json.loads(RunFolder(run_dir).state_of("tensorboard").read_text())
    assert state["offset"] == RunFolder(run_dir).journal.stat().st_size
