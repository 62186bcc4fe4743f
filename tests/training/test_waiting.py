"""Trainings whose data does not come."""

import dataclasses
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cyclegan_dist.checkpoint.store import SaveTimeoutError
from cyclegan_dist.config.config import Config
from cyclegan_dist.data.loader_processes import LoaderError
from cyclegan_dist.data.reader import ShardReader
from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.training import waiting
from cyclegan_dist.training.local_rank import train_here
from cyclegan_dist.training.stop import StopRequest
from cyclegan_dist.training.trainer import train
from cyclegan_dist.training.watchdog import Watchdog
from tests.training.trainings import ALONE, records

MakeRun = Callable[..., Config]


def hang(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Make reads of a loader's process hang after so many."""
    read, count = ShardReader.read, iter(range(after))
    monkeypatch.setattr(ShardReader, "read", lambda self, i: read(self, i) if next(count, -1) >= 0 else time.sleep(600))


# A training of which the first eight images come: two steps of two images of each domain.
TRAINING = """
import sys
import time
from pathlib import Path
from cyclegan_dist.config.config import load_config
from cyclegan_dist.data.reader import ShardReader
from cyclegan_dist.training import parts, waiting
from cyclegan_dist.training.local_rank import train_here

read, come = ShardReader.read, iter(range(8))
ShardReader.read = lambda self, i: read(self, i) if next(come, -1) >= 0 else time.sleep(600)
parts.fixed_images = lambda *a, **k: {}
waiting.GRACE_S = 0.5
_, status, stopped_by = train_here(load_config(sys.argv[1]), alone=True)
print(status, int(stopped_by))
"""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGXCPU])
def test_a_signal_while_data_is_waited_for_ends_the_run_with_a_checkpoint(
    tiny_run: MakeRun, number: signal.Signals
) -> None:
    config = tiny_run(data__workers=1)
    journal = RunFolder(config.run_dir).journal
    command = [sys.executable, "-X", "faulthandler", "-c", TRAINING, str(RunFolder(config.run_dir).config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            limit = time.monotonic() + 60
            while process.poll() is None and not (journal.exists() and b'"step": 2' in journal.read_bytes()):
                assert time.monotonic() < limit, "no second step"
                time.sleep(0.1)
            time.sleep(0.5)
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        except (subprocess.TimeoutExpired, AssertionError):
            process.send_signal(signal.SIGABRT)  # prints what each thread does
            pytest.fail("\n".join(process.communicate()))
    assert out.splitlines()[-1:] == [f"KILLED {int(number)}"], err
    assert [path.name for path in (config.run_dir / "checkpoints").glob("step-*")] == ["step-000000002"]
    assert records(config)[-1]["status"] == "KILLED"


def test_data_that_does_not_come_ends_the_run_in_one_line(tiny_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_run(data__workers=1)
    config = dataclasses.replace(config, world=dataclasses.replace(config.world, timeout_s=1.0))
    hang(monkeypatch, 0)
    monkeypatch.setattr(waiting, "SOONER", 0.1)  # of ten seconds
    monkeypatch.setattr("cyclegan_dist.training.parts.fixed_images", lambda *a, **k: {})
    with pytest.raises(LoaderError, match=r"^no data for 1 s: does the storage of data\.path answer\?"):
        train(config, ALONE, StopRequest(config.run_dir, ALONE))
    assert records(config)[-1]["status"] == "FAILED"


def test_an_error_of_a_worker_is_one_line(tiny_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_run(data__workers=1)

    def fail(self: ShardReader, index: int) -> Any:
        raise KeyError("depth")

    monkeypatch.setattr("cyclegan_dist.training.parts.fixed_images", lambda *a, **k: {})
    monkeypatch.setattr(ShardReader, "read", fail)
    monkeypatch.setattr(StopRequest, "listen", lambda self: None)
    with pytest.raises(UsageError, match=r"^the loader's processes failed: KeyError: 'depth'$"):
        train_here(config, alone=False)


def test_a_request_made_before_the_ranks_start_is_seen_before_the_first_step(tiny_run: MakeRun) -> None:
    config = tiny_run()
    (config.run_dir / "STOP").touch()
    assert train(config, ALONE, StopRequest(config.run_dir, ALONE)) == "KILLED"
    assert not [record for record in records(config) if record["kind"] == "metrics"]


def test_the_grace_counts_from_the_request_and_ends_with_the_batch(tmp_path: Path) -> None:
    stop = StopRequest(tmp_path, ALONE)
    limit = waiting.WaitLimit(stop, Watchdog(tmp_path, ALONE, 30))
    for waited_s in range(1, 100):
        limit(waited_s)
    stop.signal = signal.SIGTERM
    limit(100)
    limit(104)
    limit(1)  # the next batch
    limit(5)
    with pytest.raises(waiting.StoppedWaitingError):
        limit(6)


def test_a_save_without_progress_is_given_up_after_the_limit_or_soon_after_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = StopRequest(tmp_path, ALONE)
    limit = waiting.SaveLimit(stop, Watchdog(tmp_path, ALONE, 30), 100)
    limit(99)
    with pytest.raises(SaveTimeoutError, match=r"no progress for 100 s"):
        limit(100)
    stop.signal, now = signal.SIGTERM, 1000.0
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now)
    limit(50)
    now += waiting.STOPPING_S - 1
    limit(0.1)  # it goes on
    limit(50)
    now += waiting.STOPPING_S
    with pytest.raises(SaveTimeoutError, match="stopped without the last checkpoint"):
        limit(50)
