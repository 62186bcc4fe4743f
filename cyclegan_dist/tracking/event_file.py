"""The event file of a run, which TensorBoard shows: scalars by images seen, grids of samples, the configuration."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from PIL import Image
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.record_writer import RecordWriter, register_writer_factory
from tensorboardX.summary import text

from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import images_of, read_records
from cyclegan_dist.tracking.sender_state import SenderState, key_of

TENSORBOARD = "tensorboard"  # names the state
VERSION = "brain.Event:2"  # of the format
RGB = 3  # code of the format
_APPENDING = "append"


class EventFile:
    """The one event file of a run folder, across resumed trainings and restarted senders.

    It is cut to the length that the state names before more is appended, and begun anew where the state is lost: every
    record is in it once. The first record's time is part of its name.
    """

    def __init__(self, run_dir: Path):
        folder, key = RunFolder(run_dir), key_of(run_dir)
        first, _ = next(read_records(folder.journal, 0))
        self._run_dir = run_dir
        self._path = folder.event_files / f"events.out.tfevents.{first['time'] // 1000}.cyclegan_dist"
        state = SenderState.read(run_dir, TENSORBOARD)
        known = self._path.stat().st_size if self._path.exists() else 0
        is_whole = state.key == key and 0 < state.position <= known
        self._state = state if is_whole else SenderState(key=key)
        self.offset = self._state.offset
        folder.event_files.mkdir(exist_ok=True)
        for old in folder.event_files.glob("*.tfevents.*.cyclegan_dist"):
            if old != self._path:  # of another run that was in this folder: both would be shown as one
                old.unlink()
        with self._path.open("ab") as file:
            file.truncate(self._state.position)
        self._writer = RecordWriter(f"{_APPENDING}:{self._path}")
        if not self._state.position:
            self._write(Event(wall_time=first["time"] / 1000, file_version=VERSION))

    def send(self, record: dict[str, Any], offset: int) -> None:
        if record["kind"] in ("metrics", "evaluation"):
            values = [Summary.Value(tag=name, simple_value=value) for name, value in record["values"].items()]
            self._add(record, images_of(record), Summary(value=values))
        elif record["kind"] == "image":
            self._add_image(record)
        elif record["kind"] == "run":
            rows = "".join(f"\n| {key} | {_cell(value)} |" for key, value in record["config"].items())
            self._add(record, record["nimg"], text("config", f"| option | value |\n|---|---|{rows}"))
        self.offset = offset

    def flush(self) -> None:
        """Write the file to disk, and then the state.

        Raises:
            OSError: if the disk is full.
        """
        self._writer.flush()
        position = self._path.stat().st_size
        if (self.offset, position) != (self._state.offset, self._state.position):
            self._state = SenderState(key=self._state.key, offset=self.offset, position=position)
            self._state.save(self._run_dir, TENSORBOARD)

    def close(self) -> None:
        self._writer.close()

    def _add_image(self, record: dict[str, Any]) -> None:
        path = self._run_dir / record["path"]
        try:
            data = path.read_bytes()
            with Image.open(path) as image:
                width, height = image.size
        except OSError as error:
            print(f"{path} is not written for TensorBoard: {error}", file=sys.stderr)
            return
        shown = Summary.Image(height=height, width=width, colorspace=RGB, encoded_image_string=data)
        self._add(record, images_of(record), Summary(value=[Summary.Value(tag=record["key"], image=shown)]))

    def _add(self, record: dict[str, Any], nimg: int, summary: Summary) -> None:
        self._write(Event(wall_time=record["time"] / 1000, step=nimg, summary=summary))

    def _write(self, event: Event) -> None:
        self._writer.write(event.SerializeToString())


@contextmanager
def open_event_file(run_dir: Path) -> Iterator[EventFile]:
    """The event file of a run whose journal has a record.

    Raises:
        OSError: if it cannot be written.
    """
    file = EventFile(run_dir)
    try:
        yield file
    finally:
        file.close()


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


class _Appending:
    """Opens files of the writer, which would replace them."""

    def open(self, path: str) -> IO[bytes]:
        return open(path.removeprefix(f"{_APPENDING}:"), "ab")

    def directory_check(self, path: str) -> None:
        os.makedirs(Path(path).parent, exist_ok=True)


register_writer_factory(_APPENDING, _Appending())
