import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cyclegan_dist.config.config import load_config
from cyclegan_dist.operations.sizing.figures import workload
from pipelines import plan as pipeline
from tests.conftest import Answer

FIGURES: dict[str, Any] = {
    "device": "a card",
    "origin": "2026-01-01, by hand",
    "workload": workload(load_config("horse2zebra")),
    "seconds": {"1": 1.0, "4": 2.0},
    "memory_gib": {"1": 3.5},
    "stall_s": 2.0,
}


@pytest.fixture
def cli(command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """The command on a machine without a GPU."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    return partial(command, pipeline.main)


@pytest.fixture
def figures(tmp_path: Path) -> Path:
    path = tmp_path / "figures.json"
    path.write_text(json.dumps(FIGURES))
    return path


def lines(out: str) -> dict[str, str]:
    """The rest of each line by its first column, with single spaces."""
    columns = [line.strip().split("  ", 1) for line in out.splitlines()]
    return {column[0]: " ".join(column[1].split()) for column in columns if len(column) == 2}


def test_a_plan_equals_a_count_by_hand(cli: Callable[..., Answer], figures: Path) -> None:
    code, out, err = cli(
        *("horse2zebra", "--gpus", 9, "--measured", figures, "--images", 18, "--noise-scale", 9, "--world.price", 2),
        *("--efficiency", 0.45, "--gbit-s", 1e6, "--failure-hours", 100, "--restart-s", 36),
    )
    assert (code, err) == (0, "")
    found = lines(out)
    # 200 epochs of 18 images, of which batch B needs (B + 9) / 10. One GPU: 4 images in 2 s, 3600 * 1.3 / 2 = 2340 s. Four
    # GPUs: 16 in 2 s, 3600 * 2.5 / 8 = 1125 s; 2340 / (4 * 1125) = 0.52. Eight: 8 in 1 s, 765 s; 0.38, less than 0.45.
    assert found["device"] == "a card 2026-01-01, by hand"
    assert found["step, 4 per GPU"] == "2e+03 ms, 2 images/s measured"
    assert "3,600 images" in out
    assert found["1"] == "1 x 4 2e+03 2 0.5 0.65 1"
    assert found["4"] == "4 x 4 2e+03 8 0.125 0.313 0.52"
    assert found["layout"].startswith("4 GPUs x 2 trainings at once, 1 unused computed")
    assert found["options"] == "--optim.batch_size 16 --world.num_workers 4 computed"
    assert found["memory"] == "10.1 GiB a GPU computed: 4 images at once, without optim.fast"
    assert "18.8 min, 9,000 images" in found["same quality"]
    assert (
        found["failures"] == "one in 25 h of a training given: one in 100 h of a GPU"
        and found["checkpoint stall"] == "2 s measured: a copy in memory"
    )
    # Young: sqrt(2 * 2 s * 90,000 s) = 600 s. Daly: 600 (1 + sqrt(1/90,000) / 3) - 2 = 598.7 s, at 8 images/s.
    assert found["checkpoint interval"].startswith("9.98 min, --every.checkpoint 4789 computed")
    assert found["goodput"].startswith("99.30 %")  # 1 - (2 / 600 + (300 + 36) / 90,000), to first order
    assert found["goodput, --every.checkpoint 2000"].startswith("99.03 %")  # a stall of 2 s every 250 s, 0.8 %
    assert found["cost"].startswith("2.52 a training, 5.04 for 2 at once")  # 4 GPUs * 0.3125 h * 2 / 0.993


def test_what_is_not_known_is_said_to_be_assumed(cli: Callable[..., Answer]) -> None:
    code, out, _ = cli("horse2zebra", "--gpus", 64, "--card", "h200-prototype", "--optim.precision", "bf16")
    found = lines(out)
    assert code == 0
    assert "prototype" in found["device"] and "2026-11-26" in found["device"]
    for name in ("images", "noise scale", "exchange", "failures", "restart", "checkpoint stall"):
        assert "assumed" in found[name], name
    assert re.match(r"[\d.]+ s measured: [\d.]+ s \+ [\d.]+ s a rank; assumed: 60 s to compile", found["restart"])
    assert "bandwidth needed" in found and "cost" not in found


def test_the_demo_is_measured_here_and_read_elsewhere(cli: Callable[..., Answer], tmp_path: Path) -> None:
    path = tmp_path / "here.json"
    small = ("demo", "--method.generator.ngf", 4, "--data.load_size", 32, "--gpus", 2)
    code, out, err = cli(*small, "--sizes", 2, 1, "--budget-s", 12, "--save", path)
    assert code == 0, err
    content = json.loads(path.read_text())
    assert list(content["seconds"]) == ["1", "2"] and min(content["seconds"].values()) > 0
    assert content["link"] is None and content["stall_s"] > 0
    code, again, _ = cli(*small, "--measured", path)
    assert (code, again) == (0, out)


def test_measuring_stops_when_the_time_is_up(cli: Callable[..., Answer], tmp_path: Path) -> None:
    path = tmp_path / "here.json"
    cli("demo", "--data.load_size", 16, "--gpus", 1, "--sizes", 1, 4, "--budget-s", 1e-3, "--save", path)
    assert list(json.loads(path.read_text())["seconds"]) == ["1"]


def test_images_are_those_of_the_data_set(cli: Callable[..., Answer], figures: Path, dataset: Path) -> None:
    _, out, _ = cli("horse2zebra", "--gpus", 2, "--measured", figures, "--data.path", dataset)
    assert "10 of the larger domain" in out and f"measured: {dataset}" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["horse2zebra", "--gpus", 0], "--gpus 0"),
        (["horse2zebra", "--gpus", 2], "no GPU here to measure"),
        (["horse2zebra", "--gpus", 2, "--card", "h100", "--measure"], "--card and --measure: give one"),
        (["horse2zebra", "--gpus", 2, "--card", "h100"], "with optim.precision bf16, not fp32"),
        (
            ["horse2zebra", "--gpus", 2, "--card", "h100", "--method.generator.ngf", 32],
            "method.generator.ngf 64, not 32",
        ),
        (
            ["distill", "--method.teacher", "SNAPSHOT", "--gpus", 2, "--card", "h100"],
            "--card h100 was measured with method cyclegan, not distill: measure anew",
        ),
        (["demo", "--gpus", 2, "--measured", "figures.json"], "figures.json was measured with"),
        (["horse2zebra", "--gpus", 2, "--card", "h100", "--save", "a.json"], "leave out --measured and --card"),
        (["demo", "--gpus", 2, "--save", "/not/there/a.json"], "make the folder /not/there"),
        (["demo", "--gpus", 2, "--sizes", 0], "--sizes 0"),
        (["demo", "--gpus", 2, "--efficiency", 2], "--efficiency 2"),
        (["demo", "--gpus", 2, "--price", 1], "did you mean --world.price"),
        (["demo", "--gpus", 2, "--latency-ms", 1], "--latency-ms needs --gbit-s"),
        (["demo", "--gpus", 2, "--measured", "missing.json"], "missing.json has no figures"),
        (["horse2zebra", "--gpus", 2, "--measured", "figures.json", "--failure-hours", 1e-6], "no checkpoint"),
        (["demo", "--gpus", 2, "--dry_run"], "leave them out"),
        (["demo", "--gpsu", 2], "unknown option --gpsu"),
    ],
)
def test_a_wrong_option_is_one_line(
    cli: Callable[..., Answer], figures: Path, arguments: list[Any], words: str
) -> None:
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert words in err and err.count("\n") == 1


def test_figures_of_the_benchmark_are_read(cli: Callable[..., Answer], tmp_path: Path) -> None:
    """The shape that `python -m benchmarks.gpu --json` writes."""
    path = tmp_path / "gpu.json"
    cells = [
        {"variant": "bf16, fast on", "batch": 1, "status": "", "ms": [10.0], "median_ms": 10.0, "peak_gib": 2.5},
        {"variant": "bf16, fast on", "batch": 4, "status": "out of memory", "ms": []},
        {"variant": "bf16, fast off", "batch": 1, "status": "", "ms": [40.0], "median_ms": 40.0, "peak_gib": 3.5},
    ]
    line = "2026-11-30, NVIDIA H100, Python 3.12.1, torch 2.11.0; 1 threads"
    content = {
        "machine": f"{line}\n\n    command\n",
        "workload": {"size": 256, "ngf": 64, "n_blocks": 9},
        "cells": cells,
    }
    path.write_text(json.dumps(content))
    options = ("horse2zebra", "--gpus", 1, "--measured", path, "--optim.precision", "bf16")
    found = lines(cli(*options)[1])
    assert found["step, 1 per GPU"] == "10 ms, 100 images/s measured" and found["memory"] == "2.5 GiB a GPU measured"
    assert found["device"] == f"NVIDIA H100 {line}, bf16, fast on" and "step, 4 per GPU" not in found
    assert lines(cli(*options, "--optim.fast", "off")[1])["step, 1 per GPU"] == "40 ms, 25 images/s measured"
    assert "no step that was measured with this" in cli("horse2zebra", "--gpus", 1, "--measured", path)[2]
    assert "n_blocks 9, not 6" in cli(*options, "--method.generator.n_blocks", 6)[2]


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": {}},
        {"workload": None},
        {"seconds": {"1": 0}},
        {"seconds": {"one": 1}},
        {"seconds": [1]},
        {"link": {"latency_s": 0}},
    ],
)
def test_figures_that_are_none_are_refused(cli: Callable[..., Answer], figures: Path, change: dict[str, Any]) -> None:
    figures.write_text(json.dumps({**FIGURES, **change}))
    code, _, err = cli("demo", "--gpus", 2, "--measured", figures)
    assert code == 2 and "has no " in err and err.count("\n") == 1
