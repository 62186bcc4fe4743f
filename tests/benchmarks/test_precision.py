"""Precisions beside each other: what is trained, what is read, what is printed."""

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


def judged(run: str) -> dict[str, dict[str, float]]:
    """Values that tell the run and the figure apart: `means` are those of both directions, or of both domains."""
    found: dict[str, dict[str, float]] = {}
    for key, mean in means(run).items():
        ends = ("_A", "_B") if key.startswith("eval/") else ("_AB", "_BA")
        found |= {key + end: {"value": mean + sign} for end, sign in zip(ends, (1, -1), strict=True)}
    return found


def means(run: str) -> dict[str, float]:
    """Of both ends of each figure."""
    kind, seed = run.split("-")
    return {key: 1000.0 * i + LEVEL[kind] + int(seed) for i, key in enumerate(FIGURES)}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """No run is trained, none is judged: each run's options, by its name, and the data that it was judged on."""
    runs = {}

    def train(folder: Path, arrangement: object, preset: str, name: str, options: dict[str, Any]) -> None:
        runs[name] = {"preset": preset, **options}

    def call(words: list[Any]) -> None:
        if words[0] == "pipelines.evaluate":
            options = dict(zip(words[2:-1:2], words[3::2], strict=True))
            runs[words[1].name]["judged on"] = options["--data"].name
            options["--out"].mkdir()
            (options["--out"] / "metrics.json").write_text(json.dumps({"figures": judged(words[1].name)}))

    monkeypatch.setattr(precision, "run", train)
    monkeypatch.setattr(precision, "_call", call)
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
            "judged on": "data",
        }
    }


def test_both_precisions_get_the_same_seeds_and_are_judged_on_the_same(
    trained: dict[str, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    main(seeds=2)
    assert {run: options["judged on"] for run, options in trained.items()} == dict.fromkeys(
        ["bf16-0", "bf16-1", "fp32-0", "fp32-1"], "held_out"
    )
    rows = [line for line in capsys.readouterr().out.splitlines() if line.endswith("5000 |")]
    assert rows == [
        f"| {title} (`{key}`) | {kind} | {start + level:.4f}, {start + level + 1:.4f} | {start + level + 0.5:.4f} |"
        for start, (key, title) in zip((0, 1000, 2000), FIGURES.items(), strict=True)
        for kind, level in LEVEL.items()
    ]


def test_after_a_failure_nothing_new_begins(trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    began = []

    def fail(folder: Path, data: Path, kind: str, seed: int) -> None:
        began.append(seed)
        time.sleep(0.2)
        raise RuntimeError("no space")

    monkeypatch.setattr(precision, "figures", fail)
    with pytest.raises(RuntimeError, match="no space"):
        main(seeds=4)
    assert len(began) <= 4  # two, and two that had taken their places


def test_no_seed_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match="0 seeds"):
        main(seeds=0)


def test_images_that_are_held_out_become_a_data_set_of_pairs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(precision, "HELD_OUT", 3)
    assert open_manifest(str(held_out(tmp_path))).paired
    assert len(list((tmp_path / "A").iterdir())) == 3


def test_a_command_that_fails_is_told_with_its_end() -> None:
    with pytest.raises(RuntimeError, match=r"json\.tool: (.|\n)*not-there"):
        precision._call(["json.tool", "/not-there"])
