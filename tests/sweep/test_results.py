"""The end of a sweep: the best trial, and the files, tables and pictures that show it."""

import csv
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from cyclegan_dist.config.config import Config, load_config
from cyclegan_dist.sweep import progress
from cyclegan_dist.sweep.config import Values
from cyclegan_dist.sweep.pictures import draw_history, draw_parallel
from cyclegan_dist.sweep.progress import SweepProgress, time_left
from cyclegan_dist.sweep.record import Trial
from cyclegan_dist.sweep.results import best, ranked, table, write_results
from cyclegan_dist.sweep.state import open_sweep
from tests.conftest import size_of
from tests.sweep.sweeps import LAMBDAS, end_run, make_record, make_sweep, tiny_sweep

SPEC = make_sweep(name="demo", num_trials=6, max_images=900)
OUTCOMES = [
    ("finished", [0.9, 0.5, 0.4]),
    ("cut", [0.1]),  # a low value, but so early that it means nothing
    ("finished", [0.8, 0.6, 0.3]),
    ("diverged", [0.7, 0.01]),
    ("cut", [0.9, 0.8]),
    ("crashed", []),
]
TRIALS = [
    Trial(
        number,
        {LAMBDAS: 1 + 4.0 * number, "method.pool_size": 50 * (number % 2), "schedule.policy": "step"},
        {100 * (i + 1): value for i, value in enumerate(values)},
        status=status,
    )
    for number, (status, values) in enumerate(OUTCOMES)
]


def test_finished_trials_come_first_and_lost_ones_last() -> None:
    assert [t.number for t in ranked(SPEC, TRIALS)] == [2, 0, 4, 1, 3, 5]
    assert [t.number for t in ranked(make_sweep(mode="max"), TRIALS)] == [0, 2, 4, 1, 3, 5]


def test_there_is_no_best_trial_if_all_failed() -> None:
    assert best(SPEC, TRIALS[3:4]) is None
    assert best(SPEC, []) is None
    assert best(SPEC, TRIALS[1:2]) == TRIALS[1]


def test_there_is_no_best_trial_while_a_further_one_is_interrupted() -> None:
    interrupted = Trial(6, TRIALS[0].values, {500: 0.35})
    assert best(SPEC, [TRIALS[4], interrupted]) is None
    assert best(SPEC, [*TRIALS, interrupted]) == TRIALS[2]


def test_progress_is_lines_for_grep() -> None:
    out = io.StringIO()
    with SweepProgress(SPEC, dict(enumerate(TRIALS)), Console(file=out, width=200)) as progress:
        progress.started(TRIALS[1])
        progress.reported(TRIALS[1], 100)
        progress.crashed(TRIALS[1], "rank 0 died")
        progress.ended(TRIALS[1])
    assert out.getvalue().splitlines() == [
        "trial-0001 continues: lambda_cycle_A,B=5.0 pool_size=50 policy=step [6 of 6 ended]",
        "trial-0001 crashed, restarting: rank 0 died [6 of 6 ended]",
        "trial-0001 cut: images 100/900 loss/cycle 0.1000 [6 of 6 ended]",
    ]


def test_the_time_left_follows_from_what_was_done_since_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    trials = {0: Trial(0, {}, status="finished"), 1: Trial(1, {}, {450: 0.5})}
    progress = SweepProgress(make_sweep(num_trials=4, max_images=900), trials, Console(file=io.StringIO()))
    progress.started(trials[1])  # resumed at half of its images
    assert progress.summary().endswith("1 of 4 ended; trial-0001 images 450/900 loss/cycle 0.5000")
    now[0] = 600.0
    progress.reported(trials[1], 900)  # half a trial in 10 minutes: two are left
    assert "1 of 4 ended, about 40 min left; trial-0001 images 900/900" in progress.summary()
    trials[1] = Trial(1, {}, status="finished")
    progress.ended(trials[1])
    assert progress.summary().endswith("2 of 4 ended, about 40 min left; no trial runs")


@pytest.mark.parametrize(
    ("seconds", "done", "text"),
    [(10, 0, ""), (10, 2, ", about 10 s left"), (100, 2, ", about 2 min left"), (9e3, 2, ", about 2 h left")],
)
def test_times_left_have_a_fitting_unit(seconds: float, done: float, text: str) -> None:
    assert time_left(seconds, done, 2) == text


def test_lines_come_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PAUSE_S", 0.01)
    out, line = io.StringIO(), "6 of 6 ended; trial-0001 images 300/900 loss/cycle 0.1000\n"
    with SweepProgress(SPEC, dict(enumerate(TRIALS)), Console(file=out, width=200)) as running:
        running.reported(TRIALS[1], 300)
        deadline = time.monotonic() + 10
        while out.getvalue().count(line) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert out.getvalue().count(line) >= 2


def printed(width: int, running: dict[int, int]) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as capture:
        console.print(
            table(
                console,
                make_sweep(space={key: Values(choice=(1,)) for key in TRIALS[0].values}),
                TRIALS,
                "title",
                running,
            )
        )
    return capture.get().splitlines()


def test_the_table_shows_which_trials_run() -> None:
    rows = printed(200, {4: 250})
    assert rows[0].rstrip() == "title"
    assert rows[6].split() == ["trial-0004", "runs", "250", "0.8000", "17.0", "0", "step"]
    assert rows[7].split()[:4] == ["trial-0005", "crashed", "0", "-"]


def test_a_narrow_terminal_gets_a_table_too() -> None:
    text = "\n".join(printed(70, {}))
    assert all(word in text for word in ("trial-0005", "lambda_cycle_A,B=5.0", "pool_size=50", "policy=step"))


@pytest.mark.parametrize("outcomes", [OUTCOMES, OUTCOMES[5:], OUTCOMES[:1], []])
def test_pictures_are_drawn_whatever_the_outcomes(tmp_path: Path, outcomes: list[tuple[str, list[float]]]) -> None:
    record = make_record(tmp_path / "sweep.jsonl", SPEC, *outcomes)
    for draw, name in ((draw_history, "history.png"), (draw_parallel, "parallel_coordinates.png")):
        draw(record, tmp_path)
        assert min(size_of(tmp_path / name)) > 300


def test_the_best_config_is_one_to_train_with(tiny_run: Callable[..., Config]) -> None:
    spec = tiny_sweep(tiny_run(), num_trials=2, max_images=40, workers_per_trial=2)
    with open_sweep(spec) as sweep:
        for number, value in ((0, 0.5), (1, 0.25)):
            assert sweep.next() is not None
            end_run(sweep, number, value)
        winner = write_results(sweep)
    assert winner is not None and winner.number == 1
    config = load_config(str(sweep.folder / "best.yaml"))
    assert (config.name, config.stop_after, config.tracking.parent) == ("swept-best", 0, "")
    assert config.world == sweep.base.world
    assert config.method.lambda_cycle_B == winner.values[LAMBDAS]
    rows = list(csv.DictReader((sweep.folder / "results.csv").read_text().splitlines()))
    assert [(row["trial"], row["loss/cycle"]) for row in rows] == [("trial-0001", "0.25"), ("trial-0000", "0.5")]
    tree = json.loads((sweep.folder / "trials.json").read_text())
    assert tree["best"] == "trial-0001" and tree["is_over"]
    assert tree["trials"][0]["results"] == [{"nimg": 40, "step": 20, "value": 0.25}]
