"""Runs measured by one protocol, seeds together, nothing twice."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.evaluation import cached
from cyclegan_dist.evaluation.figures import Figure
from cyclegan_dist.leaderboard import measure
from cyclegan_dist.leaderboard.entries import Entry
from cyclegan_dist.leaderboard.page import markdown
from pipelines import leaderboard
from tests.conftest import Answer, make_dataset
from tests.training.trainings import go

MakeRun = Callable[..., Config]
WHAT = ("--features", "untrained", "efficientnet_lite0", "--metrics", "distances", "content", "--device", "cpu")
FEW = (*WHAT, "--count", 4)


@pytest.fixture
def data(dataset: Path, tmp_path: Path) -> Path:
    """A data set with parts for validation and test."""
    shutil.copytree(dataset, tmp_path / "data")
    for part, seed in (("val", 5), ("test", 6)):
        make_dataset(tmp_path / part, seed).rename(tmp_path / "data" / part)
    return tmp_path / "data"


@pytest.fixture
def runs(tiny_run: MakeRun, data: Path) -> list[Path]:
    """Two configurations, of which one has two seeds; each run has two snapshots."""
    how = {"data__path": str(data), "held_out__data": "", "every__snapshot": 4, "stop_after": 8}
    configs = [tiny_run(name=f"plain-{seed}", seed=seed, **how) for seed in (0, 1)]
    configs.append(tiny_run(name="hot", **how, optim__lr=0.01))
    for config in configs:
        go(config)
    return [config.run_dir for config in configs]


@pytest.fixture
def one(tiny_run: MakeRun, data: Path) -> Path:
    """A run."""
    config = tiny_run(data__path=str(data), held_out__data="", stop_after=4)
    go(config)
    return config.run_dir


def test_a_leaderboard(
    runs: list[Path], data: Path, tmp_path: Path, command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "board.md"
    code, printed, err = command(leaderboard.main, *runs, "--data", data, "--out", out, *FEW)
    assert code == 0 and f"page: {out}" in printed, err
    assert err.count("evaluated ") == 3 * 2 + len(list(out.parent.glob("runs/*/evaluations/test-*")))
    found, page = json.loads(out.with_suffix(".json").read_text()), out.read_text()
    assert found["configurations"].keys() == {"plain", "hot"}
    for which in ("last", "chosen"):
        cell = found["configurations"]["plain"][which]["kd/efficientnet_lite0_AB"]
        values = [
            e[which]["figures"]["kd/efficientnet_lite0_AB"] for e in found["entries"] if e["configuration"] == "plain"
        ]
        figure = Figure.mean(values)
        assert cell == {"mean": figure.value, "interval": list(figure.interval), "n": 2, "values": values}
    assert found["configurations"]["hot"]["last"]["structure/efficientnet_lite0_BA"]["interval"] is None
    assert found["differences"] == {"optim.lr": {"plain": 0.0002, "hot": 0.01}}
    # The choice is that of the validation images, not of those that are reported.
    for entry, run in zip(found["entries"], runs, strict=True):
        trees = {
            path.name[-1]: json.loads((path / "metrics.json").read_text()) for path in run.glob("evaluations/val-*")
        }
        means = {
            tree["nimg"]: (tree["figures"]["kd/untrained_AB"]["value"] + tree["figures"]["kd/untrained_BA"]["value"])
            / 2
            for tree in trees.values()
        }
        assert len(means) == 2 and entry["chosen"]["nimg"] == min(means, key=lambda nimg: (means[nimg], -nimg))
        assert entry["last"]["nimg"] == 8 and entry["facts"]["seconds"] > 0 and entry["facts"]["device"]
    digest = open_manifest(str(data / "test")).digest[:12]
    for text in (
        "## Last snapshot",
        "## Snapshot chosen on validation images",
        "(n=2)",
        "kd/efficientnet_lite0 A to B",
        "Kendall's tau",
        f"test {digest}",
        "sha256 579344248a93",
        "resized to",
        "bicubic",
        "`optim.lr`",
        "4 of A, 4 of B",
        "python -m pipelines.leaderboard",
    ):
        assert text in page, text
    assert [one["evaluators"] for one in found["agreement"]] == [["kd/efficientnet_lite0", "kd/untrained"]] * 2
    # What is done is not repeated, and another run is added.
    computed: list[object] = []
    monkeypatch.setattr(cached, "evaluate", lambda *arguments, **options: computed.append(arguments))
    code, _, err = command(leaderboard.main, *runs, "--data", data, "--out", out, *FEW)
    assert code == 0 and not computed, err
    assert out.read_text() == page and json.loads(out.with_suffix(".json").read_text()) == found


def test_images_that_were_trained_on_are_not_measured(
    one: Path, data: Path, tmp_path: Path, command: Callable[..., Answer]
) -> None:
    out = tmp_path / "board.md"
    code, _, err = command(leaderboard.main, one, "--data", data, "--split", "", "--out", out, *WHAT)
    assert code == 2 and "was trained on these images of domain A" in err and not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--split", "none"), "has no part none"),
        (("--split", "val"), "--split val: snapshots are chosen by these images"),
        (("--choose-by", "kd/efficientnet_lite2"), "--choose-by kd/efficientnet_lite2 is not measured with"),
    ],
)
def test_bad_input_is_one_line(
    one: Path, data: Path, command: Callable[..., Answer], arguments: tuple[str, ...], message: str
) -> None:
    code, _, err = command(leaderboard.main, one, "--data", data, *WHAT, *arguments)
    assert code == 2 and message in err and err.count("\n") == 1


def test_a_part_that_is_given_as_data_set_is_refused_with_what_works(
    one: Path, data: Path, tmp_path: Path, command: Callable[..., Answer]
) -> None:
    code, _, err = command(leaderboard.main, one, "--data", data / "test", *FEW)
    assert code == 2 and err.endswith(
        f"{data}/test is itself the part test: give --data {data}, or --data {data}/test --split ''\n"
    )
    shutil.move(data / "test", tmp_path / "alone")
    code, _, err = command(leaderboard.main, one, "--data", tmp_path / "alone", *FEW)
    assert code == 2 and err.endswith(f"or take the data set itself: --data {tmp_path}/alone --split ''\n")


def test_one_configuration_and_seed_counts_once(one: Path, data: Path, command: Callable[..., Answer]) -> None:
    snapshot = max((one / "snapshots").iterdir())
    code, _, err = command(leaderboard.main, one, snapshot, "--data", data, *WHAT)
    assert code == 2 and "of one configuration and seed" in err


def test_without_a_validation_part_the_last_snapshot_is_measured(
    one: Path, data: Path, tmp_path: Path, command: Callable[..., Answer]
) -> None:
    shutil.rmtree(data / "val")
    exported = tmp_path / "elsewhere"
    shutil.copytree(max((one / "snapshots").iterdir()), exported)
    out = tmp_path / "board.md"
    code, _, err = command(leaderboard.main, exported, "--data", data, "--out", out, *FEW)
    assert code == 0 and "has no part val" in err
    found = json.loads(out.with_suffix(".json").read_text())
    (entry,) = found["entries"]
    assert "chosen" not in entry and entry["seed"] is None and "Snapshot chosen" not in out.read_text()
    assert measure.WHICH == ("last", "chosen")


def test_no_entry_is_chosen_by_a_network_that_has_trained_it(
    one: Path, data: Path, command: Callable[..., Answer]
) -> None:
    for card in one.glob("snapshots/*/card.json"):
        card.write_text(json.dumps({**json.loads(card.read_text()), "trained_with": ["efficientnet_lite0"]}))
    features = ("--features", "efficientnet_lite0", "untrained", "--metrics", "distances", "--count", 4)
    code, _, err = command(leaderboard.main, one, "--data", data, *features, "--device", "cpu")
    found = json.loads(Path("leaderboard.json").read_text())
    assert code == 0 and found["protocol"]["choice"].startswith("kd/untrained,") and "chosen" in found["entries"][0], (
        err
    )


def test_headings_have_the_names_that_all_evaluations_have() -> None:
    figures = {key: {"value": 1.0} for key in ("kd/untrained_AB", "eval/cycle_l1_B")}
    tree = {"figures": figures, "nimg": 4, "snapshot": "s", "domain_names": {"A": "sun", "B": "rain"}}
    facts = {"data": {}}
    one = measure.Measured(Entry("one", (), {}, 0, facts), {"last": tree})
    old = measure.Measured(Entry("old", (), {}, 0, facts), {"last": {k: v for k, v in tree.items() if k[0] != "d"}})
    page = markdown({"one": [one]}, {}, "kd/untrained")
    assert "| kd/untrained sun to rain |" in page and "| cycle_l1 rain |" in page
    page = markdown({"one": [one], "old": [old]}, {}, "kd/untrained")
    assert "| kd/untrained A to B |" in page and "| cycle_l1 B |" in page
