"""The end of a sweep: who is best, and files that say so."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from cyclegan_dist.config.config import Config, load_config
from cyclegan_dist.sweep.pictures import draw_history, draw_parallel
from cyclegan_dist.sweep.progress import SweepProgress
from cyclegan_dist.sweep.record import Result, Trial
from cyclegan_dist.sweep.results import best, ranked, table, write_results
from cyclegan_dist.sweep.spec import SweepConfig, Values
from cyclegan_dist.sweep.state import open_sweep
from tests.conftest import size_of
from tests.sweep.sweeps import tiny_sweep

SPEC = SweepConfig(
    name="demo",
    base="demo",
    space={
        "method.lambda_cycle_A,method.lambda_cycle_B": Values(loguniform=(1, 30)),
        "method.pool_size": Values(choice=(0, 50)),
        "schedule.policy": Values(choice=("linear", "step", "cosine")),
    },
    num_trials=6,
    max_images=900,
    grace_images=100,
)


def trial(number: int, status: str, *values: float) -> Trial:
    results = tuple(Result(100 * (i + 1), 50 * (i + 1), value) for i, value in enumerate(values))
    lambdas = {"method.lambda_cycle_A,method.lambda_cycle_B": 1 + 4.0 * number}
    return Trial(
        number, {**lambdas, "method.pool_size": 50 * (number % 2), "schedule.policy": "step"}, results, status=status
    )


TRIALS = [
    trial(0, "finished", 0.9, 0.5, 0.4),
    trial(1, "cut", 0.1),  # a low value, but so early that it means nothing
    trial(2, "finished", 0.8, 0.6, 0.3),
    trial(3, "diverged", 0.7, 0.01),
    trial(4, "cut", 0.9, 0.8),
    trial(5, "crashed"),
]


def test_those_that_finished_come_first_and_those_that_were_lost_last() -> None:
    assert [t.number for t in ranked(SPEC, TRIALS)] == [2, 0, 4, 1, 3, 5]
    highest = SweepConfig(base="demo", space=SPEC.space, num_trials=6, scheduler="none", mode="max")
    assert [t.number for t in ranked(highest, TRIALS)] == [0, 2, 4, 1, 3, 5]


def test_none_is_best_where_all_were_lost() -> None:
    assert best(SPEC, TRIALS[3:4]) is None
    assert best(SPEC, []) is None
    assert best(SPEC, TRIALS[1:2]) == TRIALS[1]


def test_lines_for_grep(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as file:
        progress = SweepProgress(SPEC, dict(enumerate(TRIALS)), Console(file=file, width=200))
        with progress:
            progress.started(TRIALS[1])
            progress.told(1, 100)
            progress.told(1, 110)  # too soon for another line
            progress.ended(TRIALS[1])
    lines = (tmp_path / "out").read_text().splitlines()
    assert lines == [
        "trial-0001 continues: lambda_cycle_A,B=5.0 pool_size=50 policy=step [6/6 ended]",
        "trial-0001 runs: images 100/900 loss/cycle 0.1000 [6/6 ended]",
        "trial-0001 cut: images 110/900 loss/cycle 0.1000 [6/6 ended]",
    ]


def test_the_table_says_who_runs(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as file:
        console = Console(file=file, width=200)
        console.print(table(console, SPEC, TRIALS, "title", {4: 250}))
    rows = (tmp_path / "out").read_text().splitlines()
    assert rows[0].rstrip() == "title"
    assert rows[6].split()[:4] == ["trial-0004", "runs", "250", "0.8000"]
    assert rows[7].split()[:4] == ["trial-0005", "crashed", "0", "-"]


def test_a_narrow_terminal_gets_a_table_too(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as file:
        console = Console(file=file, width=70)
        console.print(table(console, SPEC, TRIALS, "title"))
    text = (tmp_path / "out").read_text()
    assert all(word in text for word in ("trial-0005", "lambda_cycle_A,B=5.0", "pool_size=50", "policy=step"))


def test_pictures_are_drawn_whatever_the_trials_came_to(tmp_path: Path) -> None:
    for trials in (TRIALS, TRIALS[5:], TRIALS[:1], []):
        for draw, name in ((draw_history, "history.png"), (draw_parallel, "parallel_coordinates.png")):
            draw(SPEC, ranked(SPEC, trials), tmp_path)
            assert min(size_of(tmp_path / name)) > 300
            if trials == TRIALS:  # the best is drawn in red
                pixels = np.asarray(Image.open(tmp_path / name).convert("RGB")).astype(int)
                assert ((pixels[..., 0] > 180) & (pixels[..., 1] < 60) & (pixels[..., 2] < 90)).sum() > 300
            (tmp_path / name).unlink()


def test_the_best_config_is_one_to_train_with(tiny_run: Callable[..., Config]) -> None:
    spec = tiny_sweep(tiny_run(), num_trials=2, max_images=20, workers_per_trial=2)
    with open_sweep(spec) as sweep:
        for number, value in ((0, 0.5), (1, 0.25)):
            assert sweep.next() is not None
            sweep.hear(number, 20, 10, value)
            sweep.record.write("end", trial=number, status="finished", text="")
        winner = write_results(sweep)
    assert winner is not None and winner.number == 1
    config = load_config(str(sweep.folder / "best.yaml"))
    assert (config.name, config.stop_after, config.tracking.parent) == ("swept-best", 0, "")
    assert config.world == sweep.base.world
    assert config.method.lambda_cycle_B == winner.values["method.lambda_cycle_A,method.lambda_cycle_B"]
    rows = list(csv.DictReader((sweep.folder / "results.csv").read_text().splitlines()))
    assert [(row["trial"], row["loss/cycle"]) for row in rows] == [("trial-0001", "0.25"), ("trial-0000", "0.5")]
    told = json.loads((sweep.folder / "trials.json").read_text())
    assert told["best"] == "trial-0001" and told["is_over"]
