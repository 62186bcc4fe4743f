"""Tests of the comparison of precisions."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import precision
from benchmarks.precision import FIGURES, figures, held_out, main
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.errors import UsageError

LEVEL = {"fp32": 1.0, "bf16": 100.0}


def evaluated(run: str) -> dict[str, dict[str, float]]:
    """A different value for each run and figure; the mean over both directions or domains is that of `means`."""
    found: dict[str, dict[str, float]] = {}
    for key, mean in means(run).items():
        ends = ("_A", "_B") if key.startswith("eval/") else ("_AB", "_BA")
        found |= {key + end: {"value": mean + sign} for end, sign in zip(ends, (1, -1), strict=True)}
    return found


def means(run: str) -> dict[str, float]:
    """Each figure's mean over both directions or domains."""
    kind, seed = run.split("-")
    return {key: 1000.0 * i + LEVEL[kind] + int(seed) for i, key in enumerate(FIGURES)}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Replaces training and evaluation. Returns each run's options, by its name, and the data it was evaluated on."""
    runs = {}

    def train(folder: Path, launch_setup: object, preset: str, name: str, options: dict[str, Any]) -> None:
        runs[name] = {"preset": preset, **options}

    def call(arguments: list[Any]) -> None:
        if arguments[0] == "pipelines.evaluate":
            options = dict(zip(arguments[2:-1:2], arguments[3::2], strict=True))
            runs[arguments[1].name]["evaluated on"] = options["--data"].name
            options["--out"].mkdir()
            (options["--out"] / "metrics.json").write_text(json.dumps({"figures": evaluated(arguments[1].name)}))

    monkeypatch.setattr(precision, "run", train)
    monkeypatch.setattr(precision, "run_module", call)
    return runs


def test_figures_are_means_of_both_directions(trained: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    assert figures(tmp_path, tmp_path / "data", "bf16", 3) == means("bf16-3")
    assert trained == {
        "bf16-3": {
            "preset": "demo",
            "optim.precision": "bf16",
            "seed": 3,
            "tracking.mlflow": False,
            "world.threads": 1,
            "evaluated on": "data",
        }
    }


def test_both_precisions_use_the_same_seeds_and_the_same_held_out_data(
    trained: dict[str, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    main(seeds=2)
    assert {run: options["evaluated on"] for run, options in trained.items()} == dict.fromkeys(
        ["bf16-0", "bf16-1", "fp32-0", "fp32-1"], "held_out"
    )
    rows = [line for line in capsys.readouterr().out.splitlines() if line.endswith("5000 |")]
    assert rows == [
        f"| {title} (`{key}`) | {kind} | {start + level:.4f}, {start + level + 1:.4f} | {start + level + 0.5:.4f} |"
        for start, (key, title) in zip((0, 1000, 2000), FIGURES.items(), strict=True)
        for kind, level in LEVEL.items()
    ]


def test_no_training_starts_after_a_failure(trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    began = []

    def fail(folder: Path, data: Path, kind: str, seed: int) -> None:
        began.append(seed)
        time.sleep(0.2)
        raise RuntimeError("no space")

    monkeypatch.setattr(precision, "figures", fail)
    with pytest.raises(RuntimeError, match="no space"):
        main(seeds=4)
    assert len(began) <= 4  # two at first, and two that started before the cancellation


def test_zero_seeds_are_refused() -> None:
    with pytest.raises(UsageError, match="0 seeds"):
        main(seeds=0)


def test_held_out_images_are_a_paired_data_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(precision, "HELD_OUT", 3)
    assert open_manifest(str(held_out(tmp_path))).paired
    assert len(list((tmp_path / "A").iterdir())) == 3


def test_a_failed_command_raises_with_the_end_of_its_output() -> None:
    with pytest.raises(RuntimeError, match=r"json\.tool: (.|\n)*not-there"):
        precision.run_module(["json.tool", "/not-there"])
