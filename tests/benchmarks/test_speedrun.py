"""Tests of the benchmark of the whole schedule, with a tiny data set and small networks on a CPU."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import energy, speedrun_training
from benchmarks.energy import EnergyLog, power_reader
from benchmarks.speedrun import main, parse
from benchmarks.speedrun_attempts import attempts, finished, speed
from benchmarks.speedrun_training import Watch
from cyclegan_dist.config.config import load_config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.step.schedule import ScheduleConfig
from cyclegan_dist.storage.checked import dump_checked

Command = Callable[..., tuple[int, str, str]]
SMALL = {
    "method.generator.ngf": 4,
    "method.generator.n_blocks": 0,
    "method.discriminator.ndf": 4,
    "method.discriminator.n_layers_D": 1,
    "data.load_size": 20,
    "data.crop_size": 16,
    "data.workers": 0,
    "data.cache_gb": 0,
    "optim.batch_size": 5,
    "schedule.n_epochs": 1,
    "schedule.n_epochs_decay": 1,
    "every.log": 5,
    "world.device": "cpu",
    "world.threads": 1,
}
TOTAL = 20  # two epochs of ten images


@pytest.fixture
def arguments(dataset: Path, own_home: Path) -> list[str]:
    """A command line with a data set that has held-out images."""
    shutil.copytree(dataset, own_home / "data")
    shutil.copytree(dataset, own_home / "data" / "test")
    options = [word for key, value in SMALL.items() for word in (f"--{key}", str(value))]
    return ["--data", "data", "--features", "untrained", *options]


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """A training handles signals; afterwards the handlers are pytest's again."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_preset_is_the_paper_s_schedule_with_a_larger_batch() -> None:
    config, paper = load_config("speedrun"), load_config("horse2zebra")
    assert config.method == paper.method and config.schedule == paper.schedule == ScheduleConfig()
    assert (config.optim.batch_size, config.optim.learning_rate()) == (8, paper.optim.lr)
    assert 200 * 1334 % config.optim.batch_size == 0  # whole updates


def test_a_trial_on_a_bare_machine_is_continued_to_the_end_and_evaluated(
    arguments: list[str], own_home: Path, command: Command
) -> None:
    code = (
        "import sys\n"
        "for name in ('ray', 'mlflow', 'webdataset', 'pydantic', 'tyro', 'annotated_types'):\n"
        "    sys.modules[name] = None\n"
        f"sys.argv = ['speedrun', *{[*arguments, '--stop_after', '10']}]\n"
        "from benchmarks.speedrun import main\n"
        "raise SystemExit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folder = own_home / "runs" / "speedrun"
    assert json.loads((folder / "speedrun.json").read_text())["images"] == 10

    code, out, _ = command(main, *arguments)
    assert code == 0 and "resumed at step 2" in out
    found = json.loads((folder / "speedrun.json").read_text())
    assert found["images"] == found["evaluation"]["nimg"] == TOTAL
    first, second = found["attempts"]
    assert (first["first_nimg"], first["last_nimg"], second["first_nimg"]) == (0, 10, 10)
    assert found["wall_s"] == first["seconds"] + second["seconds"] > 0
    assert 0 < first["facts"]["first_update_s"] <= first["facts"]["ready_s"] < first["seconds"]
    assert 0 <= found["waiting_for_data"] < 1 and found["kilojoules"] is None
    assert {"kd/untrained_AB", "kd/untrained_BA"} < found["evaluation"]["figures"].keys()
    report = (folder / "speedrun.md").read_text()
    assert report in out and "| energy of the GPU | not reported |" in report and "in 2 attempts" in report
    assert (folder / "evaluations" / "speedrun" / "index.html").exists()

    assert command(main, *arguments)[0] == 0  # again: only the report
    assert len(json.loads((folder / "speedrun.json").read_text())["attempts"]) == 2


def test_it_stops_with_a_checkpoint_when_the_time_is_up(arguments: list[str], own_home: Path, command: Command) -> None:
    code, out, _ = command(main, *arguments, "--minutes", "1e-6")
    assert code == 128 + signal.SIGTERM and "| images per domain | 5 |" in out and "same command resumes" in out
    assert not (own_home / "runs" / "speedrun" / "speedrun.json").exists()
    code, out, _ = command(main, *arguments, "--stop_after", "10")
    assert code == 0 and "resumed at step 1" in out


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--features", "nothing"], "features nothing: give untrained"),
        (["--optim.learning", "1"], "unknown key optim.learning"),
        (["--preset", "speedrun+stabel"], "did you mean stable?"),
        (["--data", "elsewhere"], "elsewhere"),
        (["stray"], "give config values as"),
    ],
)
def test_errors_come_before_the_training(
    more: list[str], says: str, arguments: list[str], own_home: Path, command: Command
) -> None:
    code, _, err = command(main, *arguments, *more)
    assert code == 2 and says in err
    assert not (own_home / "runs" / "speedrun" / "metrics.jsonl").exists()


def test_config_values_are_yaml() -> None:
    options, values = parse(["--data", "x", "--optim.lr", "0.5", "--name", "other"])
    assert (options.data, options.stop_after, values) == (Path("x"), 0, {"optim.lr": 0.5, "name": "other"})
    with pytest.raises(UsageError, match="give config values"):
        parse(["--data", "x", "--optim.lr"])


def journal(folder: Path, *records: dict[str, Any]) -> Path:
    path = folder / "metrics.jsonl"
    path.write_bytes(b"".join(dump_checked({**record, "time": record["time"] * 1000}) for record in records))
    return path


def run_record(at: float, nimg: int) -> dict[str, Any]:
    return {"kind": "run", "time": at, "nimg": nimg, "total": 300}


def point(at: float, nimg: int, rate: float, waiting: float) -> dict[str, Any]:
    values = {"perf/images_per_s": rate, "perf/data_wait_frac": waiting}
    return {"kind": "metrics", "time": at, "nimg": nimg, "values": values}


def test_times_and_energy_are_added_up_over_attempts(tmp_path: Path) -> None:
    """The first attempt was killed; the second had no log; the third began when all was done."""
    path = journal(
        tmp_path,
        run_record(1010, 0),
        point(1020, 100, 10, 0.5),
        point(1022, 200, 50, 0),
        run_record(2000, 200),
        point(2030, 300, 10, 0.1),
        {"kind": "end", "time": 2031, "status": "FINISHED"},
        run_record(3000, 300),
        {"kind": "end", "time": 3001, "status": "FINISHED"},
    )
    log = tmp_path / "speedrun.jsonl"
    lines = [{"started": 1000, "time": t, "joules": 100.0 * t, "first_update_s": 11} for t in (1005, 1025)]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"started": 1')  # killed while writing
    first, second = attempts(path, log)
    assert (first.seconds, first.first_nimg, first.last_nimg, first.joules) == (25, 0, 200, 102500.0)
    assert first.facts == {"first_update_s": 11}
    assert (second.seconds, second.first_nimg, second.last_nimg, second.joules) == (31, 200, 300, None)
    found = speed(path, [first, second])
    assert (found["images"], found["wall_s"], found["kilojoules"]) == (300, 56, None)
    assert found["images_per_s_while_training"] == 50
    assert found["waiting_for_data"] == pytest.approx((5 + 1) / (10 + 2 + 10))
    assert speed(path, [first, first])["kilojoules"] == 205
    assert finished(path, 300) and not finished(path, 301)
    assert attempts(tmp_path / "none", log) == [] and speed(tmp_path / "none", [])["images"] == 0


def test_energy_is_power_times_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "SAMPLE_S", 0.005)
    monkeypatch.setattr(energy, "WRITE_S", 0.05)
    path, began = tmp_path / "log.jsonl", time.monotonic()
    with EnergyLog(path, 1.0, lambda: 300.0) as log:
        time.sleep(0.3)
        log.facts["first_update_s"] = 7
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert 0.5 * 300 * 0.3 < lines[-1]["joules"] <= 300 * (time.monotonic() - began)
    assert lines[-1]["first_update_s"] == 7 and len(lines) > 2


def test_a_card_that_stops_reporting_has_no_energy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "SAMPLE_S", 0.005)
    values = iter([300.0])
    path = tmp_path / "log.jsonl"
    with EnergyLog(path, 1.0, lambda: next(values)):
        time.sleep(0.1)
    assert json.loads(path.read_text().splitlines()[-1])["joules"] is None


def test_power_comes_from_nvml_or_else_from_nvidia_smi(monkeypatch: pytest.MonkeyPatch) -> None:
    assert power_reader() is None  # no GPU
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.power_draw", lambda: 250_000)
    assert (read := power_reader()) is not None and read() == 250.0

    def missing() -> int:
        raise ModuleNotFoundError("pynvml")

    monkeypatch.setattr("torch.cuda.power_draw", missing)
    printed = {"text": "312.5\n"}
    done = lambda *a, **k: subprocess.CompletedProcess([], 0, printed["text"], "")  # noqa: E731
    monkeypatch.setattr(energy.subprocess, "run", done)
    assert (read := power_reader()) is not None and read() == 312.5
    printed["text"] = "[N/A]\n"
    assert power_reader() is None


def test_a_graphed_step_is_ready_after_its_first_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace as Simple

    facts: dict[str, Any] = {}
    watch = Watch(facts, time.time(), 0)
    hooks = Simple(reporting=[])
    parts = Simple(config=Simple(run_dir=Path()), step=Simple(fast=True))
    watch.plugin(parts, hooks, Simple(step=100), iter(()))  # type: ignore
    assert hooks.reporting == [watch]
    seen = []
    for step in range(101, 108):
        watch(Simple(step=step))  # type: ignore
        seen.append(sorted(facts))
    assert seen[0] == ["first_update_s"] and seen[speedrun_training.WARM_UP - 1] == ["first_update_s"]
    assert seen[speedrun_training.WARM_UP] == ["first_update_s", "ready_s"]
