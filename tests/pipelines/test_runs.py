import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from cyclegan_dist.storage.checked import write_checked
from cyclegan_dist.storage.files import lock
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import Journal
from pipelines.runs import main

Answer = tuple[int, str, str]
CONFIG = {"method.name": "cut", "data.preprocess": "none", "data.load_size": 32, "every.log": 100}


def write_run(path: Path, *, failed: bool) -> None:
    with Journal(path) as journal:
        journal.write("run", config=CONFIG, data=[], nimg=0, total=246_200)
        values = {"images_per_s": 0.5, "seconds": 4e5, "log_s": 200.0}
        journal.write("estimate", step=2, nimg=2, values=values)
        if failed:
            journal.write("failure", text="rank 1: [gone]", ranks=[1])
            journal.write("end", status="FAILED")


def test_the_table_has_a_row_for_each_run(command: Callable[..., Answer], own_home: Path) -> None:
    for name in ("good", "bad"):
        write_run(own_home / "runs" / name, failed=name == "bad")
    good = RunFolder(own_home / "runs" / "good")
    write_checked(good.best, {"snapshot": "snapshots/nimg-2", "figure": "eval/kid", "value": 0.125})
    with lock(good.lock):
        code, out, err = command(main)
    assert (code, err) == (0, "")
    header, *rows, reason = (" ".join(line.split()) for line in out.splitlines())
    assert header == "run status method images images/s left best size last record"
    assert [row.split()[:2] for row in sorted(rows)] == [["bad", "failed"], ["good", "running"]]
    assert max(rows).startswith("good running cut 32 2 of 246,200 0.5 4.6 days eval/kid 0.125 ")
    assert reason == "bad failed: rank 1: [gone]"


def test_the_same_as_json(command: Callable[..., Answer], own_home: Path) -> None:
    write_run(own_home / "elsewhere" / "one", failed=False)
    code, out, _ = command(main, "elsewhere", "--json")
    (found,) = json.loads(out)
    assert code == 0 and (found["name"], found["state"], found["total"]) == ("one", "killed", 246_200)


def test_a_folder_that_is_not_there_or_empty(command: Callable[..., Answer], own_home: Path) -> None:
    code, _, err = command(main)
    assert code == 2 and err == f"error: {own_home}/runs is not a folder: give the --runs_dir of the trainings\n"
    (own_home / "runs").mkdir()
    assert command(main)[:2] == (0, f"{own_home}/runs has no runs\n")


def test_the_newest_grid_is_named_and_shown_on_a_terminal(
    command: Callable[..., Answer], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(own_home / "runs" / "one", failed=False)
    assert command(main, "--preview")[1].endswith("one has no grid of samples yet\n")
    samples = own_home / "runs" / "one" / "samples"
    samples.mkdir()
    for nimg in (0, 100, 20):
        Image.new("RGB", (4, 4), (nimg, 0, 0)).save(samples / f"nimg-{nimg:09d}.png")
    code, out, _ = command(main, "--preview")
    assert code == 0 and out.endswith(f"one: {own_home}/runs/one/samples/nimg-000000100.png\n")
    for name, value in {"TTY_COMPATIBLE": "1", "COLORTERM": "truecolor", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)
    assert "\x1b[38;2;100;0;0;48;2;100;0;0m" in command(main, "--preview")[1]
    code, _, err = command(main, "--preview", "--json")
    assert (code, err) == (2, "error: give --json or --preview, not both\n")
