"""A table of the paper from the command line to its page, with runs that learn nothing."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from cyclegan_dist.evaluation import cached
from cyclegan_dist.paper.data import TEST, VALIDATION, open_parts
from cyclegan_dist.paper.runs import budget_of
from cyclegan_dist.sweep.state import Sweep
from pipelines.paper import main
from tests.conftest import make_dataset
from tests.training.trainings import go

TABLE: dict[str, Any] = {
    "title": "Some <methods>",
    "figure": "Figure 0",
    "base": "streets",
    "images": 80,
    "maps": "B",
    "columns": {
        "accuracy": {"direction": "AtoB", "metric": "seg/pixel_accuracy"},
        "FCN score": {"direction": "BtoA", "metric": "seg/pixel_accuracy"},
        "people": {"direction": "BtoA"},
    },
    "rows": {
        "CycleGAN": {"values": {"method.lambda_identity": 0}, "paper": [0.58, 0.52, 26.8], "status": "transcribed"},
        "one direction": {"preset": "pix2pix_resnet", "baseline": "CycleGAN"},
        "gone": {"preset": "nosuchmethod"},
    },
    "truth": {"paper": [None, 0.8, None]},
    "checks": [{"says": "it is better", "row": "one direction", "column": "accuracy", "above": "CycleGAN"}],
}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Replaces Ray by a loop in this process. Lists the runs it has trained; `stop` in place of the first trains one
    only, as if a signal had stopped it.
    """
    names: list[str] = []

    def one_by_one(sweep: Sweep, progress: Any) -> int:
        only_one = names == ["stop"]
        names.clear()
        while found := sweep.next():
            trial, config = found
            assert go(config) == "FINISHED"
            sweep.finish(trial.number)
            names.append(trial.name)
            if only_one:
                return 15
        return 0

    stub = SimpleNamespace(sweep_on_ray=one_by_one)
    monkeypatch.setitem(__import__("sys").modules, "cyclegan_dist.orchestration.tuning", stub)
    yield names


def test_a_table_is_trained_measured_and_shown(
    trained: list[str], tmp_path: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(TABLE, sort_keys=False))
    arguments = (main, "mine.yaml", "--smoke", "--images", 24, "--tracking.mlflow", "False")

    trained.append("stop")
    code, out, err = command(*arguments)
    assert (code, len(trained)) == (143, 1)
    assert "6 runs" in out and "run the same command again" in err

    code, out, err = command(*arguments)
    assert (code, len(trained)) == (0, 5), err
    folder = tmp_path / "runs" / "mine-smoke"
    results = json.loads((folder / "page" / "results.json").read_text())
    rows = results["tables"]["mine"]["rows"]
    assert "no preset 'nosuchmethod'" in rows["gone"]["reason"] and "no preset" in err
    for row in ("CycleGAN", "one direction"):
        for column in ("accuracy", "FCN score"):
            for which in ("last", "chosen"):
                cell = rows[row]["cells"][column][which]
                assert (cell["n"], len(cell["values"])) == (2, 2) and 0 <= cell["mean"] <= 1
                assert cell["interval"][0] <= cell["mean"] <= cell["interval"][1]
    assert [rows["CycleGAN"]["cells"][column]["paper"] for column in TABLE["columns"]] == [0.58, 0.52, 26.8]
    assert 0 < results["tables"]["mine"]["truth"]["cells"]["FCN score"]["mean"] <= 1
    assert results["tables"]["mine"]["checks"][0]["last"]["outcome"] in ("held", "did not hold", "undecided")
    assert {run["status"] for run in results["runs"]} == {"finished"}
    assert results["tables"]["mine"]["rows"]["one direction"]["differences"]["accuracy"]["last"]["n"] == 2
    assert results["protocol"]["images_that_a_run_sees"] == 48  # two epochs of 24

    page = (folder / "page" / "index.html").read_text()
    assert "Some &lt;methods&gt;" in page and "nosuchmethod" in page
    assert set(re.findall(r'src="([^"]{22})', page)) == {"data:image/png;base64,"}
    assert page.count("<img") == 2 * 4 * 4  # directions, images; input, two methods, truth
    assert "in which nothing was learned" in page
    (differences,) = re.findall("<h3>Differences</h3>(.*?)</table>", page, re.DOTALL)
    cell, decimals = (results["tables"]["mine"][key] for key in ("rows", "columns"))
    cell, decimals = cell["one direction"]["differences"]["accuracy"]["last"], decimals["accuracy"]["decimals"]
    assert f"<span>{cell['mean']:.{decimals}f}</span>" in differences and "2 runs of each" in differences
    assert "one direction - CycleGAN" in differences and differences.count("<tbody>") == 1
    assert re.search(r'class="badge (held|not|undecided)">', page) and "training: " in page
    text = (folder / "page" / "tables.md").read_text()
    assert "| CycleGAN | paper | 0.58 | 0.52 | 26.8 | transcribed |" in text and "nothing was learned" in text

    def refuse(*_: Any) -> None:
        raise AssertionError("evaluated again")

    monkeypatch.setattr(cached, "evaluate", refuse)
    trained.clear()
    code, _, err = command(*arguments)
    assert (code, trained) == (0, []), err
    assert json.loads((folder / "page" / "results.json").read_text())["tables"] == results["tables"]


def test_methods_of_pairs_fail_alone_on_data_without_pairs(
    trained: list[str], tmp_path: Path, command: Callable[..., Any]
) -> None:
    data = make_dataset(tmp_path)
    (data / TEST).symlink_to(make_dataset(tmp_path / "other"))
    columns = {"distance": {"direction": "AtoB", "metric": "diversity/untrained"}}
    rows = {"CycleGAN": {}, "pairs": {"preset": "pix2pix_resnet"}}
    table = {**TABLE, "columns": columns, "rows": rows, "maps": "", "truth": None, "checks": []}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(table, sort_keys=False))
    code, _, err = command(
        *(main, "mine.yaml", "--data", data, "--smoke", "--images", 8, "--seeds", 3, "--tracking.mlflow", "False")
    )
    assert (code, trained) == (0, ["trial-0000"]), err
    results = json.loads((tmp_path / "runs" / "mine-smoke" / "page" / "results.json").read_text())
    rows = results["tables"]["mine"]["rows"]
    assert "has no pairs" in rows["pairs"]["reason"]
    assert rows["CycleGAN"]["cells"]["distance"]["last"]["interval"] is None  # one seed
    assert results["protocol"]["data"]["train"]["max_samples"] == 3  # of seven, four held out


def test_held_out_images_are_not_trained_on(tmp_path: Path) -> None:
    data = make_dataset(tmp_path)
    (data / TEST).symlink_to(make_dataset(tmp_path / "other"))
    parts = open_parts(str(data))
    held_out = parts.parts[VALIDATION]
    assert (parts.max_samples, parts.images, held_out.samples) == (3, 3, {"A": 4, "B": 4})
    names = {d: set(held_out.domains[d]["name"].to_pylist()) for d in "AB"}
    from cyclegan_dist.data.manifest import open_manifest

    kept = open_manifest(str(data), ("name",)).selected(max_samples=parts.max_samples)
    assert not any(names[d] & set(kept.domains[d]["name"].to_pylist()) for d in "AB")


def test_the_budget_is_whole_epochs_half_of_them_decaying() -> None:
    assert budget_of(6400, 400) == {"schedule.n_epochs": 8, "schedule.n_epochs_decay": 8, "every.snapshot": 1600}
    assert budget_of(1000, 400) == {"schedule.n_epochs": 1, "schedule.n_epochs_decay": 1, "every.snapshot": 200}
    assert budget_of(10, 400)["schedule.n_epochs"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tabel2",), "did you mean table2?"),
        (("table2", "--data", "nowhere"), "no data set at"),
        (("table2", "--sedes", "1"), "did you mean --seeds?"),
        (("table2", "--optim.lrr", "1"), "unknown key optim.lrr"),
    ],
)
def test_mistakes_are_one_line(command: Callable[..., Any], arguments: tuple[str, ...], message: str) -> None:
    code, out, err = command(main, *arguments)
    assert (code, out) == (2, "")
    assert message in err and err.count("\n") == 1
