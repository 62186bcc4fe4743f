"""Precisions beside each other: what is trained, what is read, what is printed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import precision
from benchmarks.precision import FIGURES, figures, held_out, main
from cyclegan_dist.errors import UsageError

LEVEL = {"fp32": 1.0, "bf16": 100.0}


def judged(run: str) -> dict[str, dict[str, float]]:
    """Figures that tell the run, the direction and the figure apart; those of reconstructions are the domains'."""
    kind, seed = run.split("-")
    level = LEVEL[kind] + int(seed)
    found = {key + end: {"value": level + 2 * (end in ("_BA", "_B"))} for key in FIGURES for end in ("_AB", "_BA")}
    for end in ("_A", "_B"):
        found[f"eval/cycle_l1{end}"] = found.pop(f"eval/cycle_l1{end}{'B' if end == '_A' else 'A'}")
    return found


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """No run is trained, none is judged: each run's options, by its name."""
    runs = {}

    def train(folder: Path, arrangement: object, preset: str, name: str, options: dict[str, Any]) -> None:
        runs[name] = {"preset": preset, **options}

    def call(words: list[Any]) -> None:
        if words[0] == "pipelines.evaluate":
            out = words[words.index("--out") + 1]
            out.mkdir()
            (out / "metrics.json").write_text(json.dumps({"figures": judged(words[1].name)}))

    monkeypatch.setattr(precision, "run", train)
    monkeypatch.setattr(precision, "_call", call)
    return runs


def test_figures_are_means_of_both_directions(trained: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    assert figures(tmp_path, tmp_path / "data", "bf16", 3) == dict.fromkeys(FIGURES, 104.0)
    assert trained == {
        "bf16-3": {
            "preset": "demo",
            "optim.precision": "bf16",
            "seed": 3,
            "tracking.mlflow": False,
            "world.threads": 1,
        }
    }


def test_both_precisions_get_the_same_seeds(
    trained: dict[str, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    main(seeds=2)
    assert sorted(trained) == ["bf16-0", "bf16-1", "fp32-0", "fp32-1"]
    rows = [line for line in capsys.readouterr().out.splitlines() if re.search("fp32|bf16", line)]
    assert [row.split(" | ", 1)[1] for row in rows] == [
        "fp32 | 2.0000, 3.0000 | 2.5000 |",
        "bf16 | 101.0000, 102.0000 | 101.5000 |",
    ] * len(FIGURES)


def test_no_seed_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match="0 seeds"):
        main(seeds=0)


def test_images_that_are_held_out_become_a_data_set_of_pairs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(precision, "HELD_OUT", 3)
    data = held_out(tmp_path)
    assert (data / "manifest.parquet").exists()
    assert {path.name for path in (tmp_path / "A").iterdir()} == {path.name for path in (tmp_path / "B").iterdir()}


def test_a_command_that_fails_is_told_with_its_end() -> None:
    with pytest.raises(RuntimeError, match=r"json\.tool: (.|\n)*not-there"):
        precision._call(["json.tool", "/not-there"])
