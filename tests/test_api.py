"""What the commands do, from Python."""

import importlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import cyclegan_dist as cg
from cyclegan_dist.api import _follow  # pyright: ignore[reportPrivateUsage]
from cyclegan_dist.config.config import Config, dump_config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.tracking.journal import append
from tests.conftest import write_images


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Ten images of each domain."""
    root = tmp_path_factory.mktemp("folders")
    return write_images(root / "A", 10, seed=1), write_images(root / "B", 10, seed=2)


def test_from_two_folders_to_a_translation(
    folders: tuple[Path, Path], own_home: Path, tiny_run: Callable[..., Config]
) -> None:
    lines: list[str] = []
    data = cg.prepare(*folders, "data", validation=4, workers=1, report=lines.append)
    assert data == Path("data") and (data / "val" / "manifest.parquet").exists()
    (own_home / "mine.yaml").write_text(dump_config(tiny_run()))
    options = {"data.path": str(data), "name": "mine", "every.snapshot": 4, "stop_after": 8, "held_out.data": ""}
    run = cg.train("mine.yaml", options, launcher="local", report=lines.append)
    assert lines[-1] == f"finished: {run}" and any("images 8/8" in line for line in lines)

    assert "kd/untrained_AB" in cg.evaluate(run, data, split="val", metrics=["distances"]).figures
    history = cg.history(run)
    assert list(history["nimg"]) == [4, 8] and bool(history["loss/cycle_A"].notna().all())
    best = history.loc[history["loss/G"].idxmin(), "snapshot"]
    array = np.zeros((24, 20, 3), np.uint8)
    one, two = cg.load(best).translate([array, next(folders[0].iterdir())])
    assert one.shape == (24, 20, 3) and two.size == (24, 24)
    assert cg.Snapshot.open(best).directions == ("AB", "BA")


def test_a_history_has_the_figures_and_the_snapshot_of_a_step_in_one_row(tmp_path: Path) -> None:
    for name, offset in (("one", 0), ("two", 10)):
        (tmp_path / name).mkdir()
        for step in (1, 2):
            values = {"loss/G": float(step + offset)}
            append(tmp_path / name, "metrics", step=step, nimg=step * 4, values=values)
        append(tmp_path / name, "snapshot", step=2, path="snapshots/nimg-000000008", final=True)
        append(tmp_path / name, "evaluation", step=2, nimg=8, values={"kd/untrained_AB": 0.5})
    frame = cg.history(tmp_path / "one", tmp_path / "two")
    assert list(frame["loss/G"]) == [1, 2, 11, 12] and list(frame["nimg"]) == [4, 8, 4, 8]
    assert list(frame["run"]) == [str(tmp_path / name) for name in ("one", "one", "two", "two")]
    assert frame["kd/untrained_AB"].dropna().tolist() == [0.5, 0.5]
    assert frame["snapshot"].dropna().tolist() == [
        str(tmp_path / n / "snapshots/nimg-000000008") for n in ("one", "two")
    ]
    assert frame["time"].dt.tz is not None


def test_train_is_the_module_of_the_command_and_can_be_called() -> None:
    assert cg.train is importlib.import_module("cyclegan_dist.train")
    with pytest.raises(UsageError, match="no preset 'nothing'"):
        cg.train("nothing")


def test_a_training_that_fails_raises_its_error(own_home: Path) -> None:
    with pytest.raises(UsageError, match=r"no data set at .*nowhere: manifest"):
        cg.train("demo", {"data.path": "nowhere"}, launcher="local", report=lambda line: None)


def started(code: str) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True, start_new_session=True)


def test_ctrl_c_stops_the_training_before_it_is_raised(capfd: pytest.CaptureFixture[str]) -> None:
    process = started(
        "import time\nprint('started', flush=True)\ntry: time.sleep(60)\nexcept KeyboardInterrupt: print('saved')\n"
    )
    began = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # another test may have left its own

    def interrupted(line: str) -> None:
        main = threading.main_thread().ident
        threading.Timer(0.1, signal.pthread_kill, [main, signal.SIGINT]).start()

    try:
        with pytest.raises(KeyboardInterrupt):
            _follow(process, interrupted)
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.poll() is not None and time.monotonic() - began < 30
    assert "saved" in capfd.readouterr().err


def test_a_process_that_outlives_the_training_is_not_waited_for() -> None:
    began = time.monotonic()
    code = "import subprocess; print('done', flush=True); subprocess.Popen(['sleep', '8'])"
    assert _follow(started(code), lambda line: None) == "done" and time.monotonic() - began < 7


def test_a_training_that_is_killed_names_the_signal(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> None:
    process = started("import os; print('step 40', flush=True); os.kill(os.getpid(), 9)")
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: process)
    with pytest.raises(UsageError, match=r"ended by SIGKILL.*step 40"):
        cg.train("demo", report=lambda line: None)


def test_a_training_ends_with_the_process_that_waits_for_it() -> None:
    """When its input ends, as on Ctrl-C."""
    code = (
        "import time\nfrom cyclegan_dist.train import _stop_at_end_of_input as stop\n"
        "try:\n stop()\n time.sleep(5)\nexcept KeyboardInterrupt: print('stopped')"
    )
    assert started(code).communicate(timeout=60)[0] == "stopped\n"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: cg.prepare("A", "B", "out", loadsize=3), "did you mean load_size?"),
        (lambda: cg.prepare("A", "B", "out"), "A is not a folder"),
        (lambda: cg.prepare("A", "B", "out", names="sun"), "--names sun: give two names"),
        (lambda: cg.prepare("A", "B", "out", names=["sun", "Sun"]), "both names are the same"),
        (lambda: cg.train("demo", {"optim.batchsize": 1}), "did you mean optim.batch_size?"),
        (lambda: cg.evaluate("run", "data", features=3), "evaluate: features"),
        (lambda: cg.history("."), "not the folder of a run"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, says, own_home: Path) -> None:
    with pytest.raises(UsageError, match=says.replace("?", r"\?")):
        call()


def test_importing_the_package_loads_no_other_module() -> None:
    code = "import sys, cyclegan_dist; print([m for m in sys.modules if m.startswith('cyclegan_dist.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = cg.trian  # pyright: ignore
