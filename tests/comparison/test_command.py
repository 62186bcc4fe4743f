"""Runs compared from the command line: what they differ in, curves, figures, a page, nothing twice."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cyclegan_dist.comparison.sources import open_sources
from cyclegan_dist.config.config import Config
from cyclegan_dist.data.manifest import READING, open_manifest
from cyclegan_dist.evaluation import cached
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.evaluation.figures import Figure, difference
from cyclegan_dist.evaluation.measure import evaluate
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.models.snapshot import Snapshot, save_snapshot
from cyclegan_dist.storage.checked import dump_checked
from cyclegan_dist.tracking.journal import Journal
from pipelines import compare
from tests.conftest import Answer, make_dataset, size_of
from tests.evaluation.test_gallery import Parsed
from tests.training.trainings import ALONE
from tests.translation.conftest import CONFIG

MakeRun = Callable[..., Config]
Command = Callable[..., Answer]
WHAT = ("--device", "cpu", "--count", 6, "--subsets", 2, "--metrics", "distances", "cycle")
DATA = [{"name": domain, "digest": 64 * domain, "source": "", "samples": 7} for domain in "AB"]


def journal(config: Config, losses: dict[str, float], nimg: int = 8) -> Path:
    """Writes that of a run that has logged these losses twice. Returns the run's folder."""
    facts = {"config": {}, "nimg": 0, "total": 16, "device": "card", "world_size": 2, "commit": "c" * 40}
    with Journal(config.run_dir) as written:
        written.write("run", data=DATA, **facts)
        for step in (1, 2):
            written.write("metrics", step=step, nimg=step * nimg // 2, values={**losses, "lr/G": 0.1})
        written.write("evaluation", step=2, nimg=nimg, values={"kd/untrained_AB": -0.5})
        written.write("end", status="FINISHED")
    return config.run_dir


@pytest.fixture
def recorded(tiny_run: MakeRun) -> list[Path]:
    """Two runs that have configurations and journals, and no snapshot."""
    losses = {"loss/G_AB": 1.0, "loss/D_B": 0.5}
    first = journal(tiny_run(name="first"), losses)
    return [first, journal(tiny_run(name="second", seed=3, optim__lr=0.01), {**losses, "loss/idt_A": 2.0})]


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images that were not trained on."""
    return make_dataset(tmp_path_factory.mktemp("held_out"), seed=6)


@pytest.fixture
def trained(recorded: list[Path]) -> list[Path]:
    """Two runs with a snapshot each."""
    for run in recorded:
        facts = {"nimg": 8, "data": DATA, "preprocess": {"load_size": 16, "crop_size": 16}}
        save_snapshot(run / "snapshots" / "nimg-000000008", CycleGAN(CONFIG).translators, CONFIG, facts)
    return recorded


CODE = """
import sys
from pipelines.compare import main
sys.argv = ["compare", *sys.argv[1:]]
main()
assert "torch" not in sys.modules
"""


def test_without_images_configurations_and_curves_are_compared_without_torch(
    recorded: list[Path], tmp_path: Path
) -> None:
    arguments = map(str, (*recorded, "--out", tmp_path / "page"))
    done = subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    rows = {tuple(line.split()) for line in done.stdout.splitlines()}
    assert {("seed", "0", "3"), ("optim.lr", "0.0002", "0.01"), ("ranks", "2", "2")} <= rows
    assert "note:" not in done.stdout and f"page: {tmp_path}/page/index.html" in done.stdout
    found = json.loads((tmp_path / "page" / "comparison.json").read_text())
    assert found["configurations"] == {
        "optim.lr": {"first": 0.0002, "second": 0.01},
        "seed": {"first": 0, "second": 3},
    }
    assert found["runs"]["second"]["images seen"] == 8 and found["runs"]["first"]["data"]["A"] == 64 * "A"
    text = (tmp_path / "page" / "index.html").read_text()
    sources = Parsed(text).sources
    assert len(sources) == 3 * 2  # both losses and the evaluation, for light and dark pages; not what one run has
    assert all(size_of(tmp_path / "page" / source)[0] > 100 for source in sources)
    assert "loss/G_AB over images seen: first 1 at 8, second 1 at 8" in text and "idt_A" not in text


def test_the_same_images_are_measured_once_and_shown_side_by_side(
    trained: list[Path], held_out: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "page"
    (out / "images").mkdir(parents=True)
    (out / "images" / "horse.jpg").touch()
    arguments = (*trained, "--data", held_out, "--out", out, *WHAT)
    code, printed, err = command(compare.main, *arguments)
    assert code == 0 and err.count("evaluated ") == 2, err
    assert "minus first" in printed and "nimg-000000008 (newest)" in printed
    found = json.loads((out / "comparison.json").read_text())
    manifest = open_manifest(str(held_out), (*READING, "name"))
    config = EvaluationConfig(count=6, subsets=2, metrics=("distances", "cycle"))
    one, other = (evaluate(Snapshot.open(run), manifest, config, ALONE).figures for run in trained)
    assert found["figures"]["second"]["kd/untrained_AB"]["value"] == pytest.approx(other["kd/untrained_AB"].value)
    for key in ("kd/untrained_BA", "eval/cycle_l1_A"):
        wanted, difference_found = difference(other[key], one[key]), found["differences"]["second"][key]
        assert difference_found["value"] == pytest.approx(wanted.value)
        assert difference_found["interval"] == pytest.approx(wanted.interval)
    assert found["differences"].keys() == {"second"}
    text = (out / "index.html").read_text()
    pictures = [source for source in Parsed(text).sources if source.startswith("images/")]
    assert len(pictures) == 2 * 2 * 6 * 3  # links and images; directions, images, input and two translations
    assert {size_of(out / source) for source in pictures} == {(16, 16)}
    by_run = [(out / f"images/AB-0000-run-{number}.png").read_bytes() for number in (0, 1)]
    assert by_run[0] != by_run[1] and 'data-label="second"' in text
    assert (out / "images" / "horse.jpg").exists()  # which is somebody else's
    # Again: nothing is evaluated, and --json prints the same.
    monkeypatch.setattr(cached, "evaluate", None)
    code, printed, err = command(compare.main, *arguments, "--json")
    assert code == 0 and {**found, "page": str(out / "index.html")} == json.loads(printed), err
    monkeypatch.undo()
    (kept,) = (trained[0] / "evaluations").iterdir()
    next(kept.glob("images/*.png")).unlink()
    code, _, err = command(compare.main, *arguments)
    assert code == 0 and err.count("evaluated ") == 1, err


def test_what_cannot_be_compared_is_said_and_not_refused(
    trained: list[Path], held_out: Path, tmp_path: Path, command: Command
) -> None:
    exported = tmp_path / "exported"
    shutil.copytree(next((trained[0] / "snapshots").iterdir()), exported)
    out = tmp_path / "page"
    data = open_manifest(str(held_out)).domain_digest("B")
    card = json.loads((exported / "card.json").read_text())
    card["data"] = [{"name": "A", "digest": "other"}, {"name": "B", "digest": data}]
    (exported / "card.json").write_text(json.dumps({**card, "domain_names": {"A": "sun", "B": "rain"}, "nimg": 1000}))
    shutil.rmtree(trained[1] / "snapshots")
    arguments = (trained[0], exported, trained[1], "--data", held_out, "--out", out, *WHAT)
    code, printed, err = command(compare.main, *arguments)
    assert code == 0, err
    for note in (
        "first and exported were trained on other images of domain A",
        "first and exported have other domains: of first its domains have no names; of exported A is sun, B is rain",
        "first and exported: their snapshots have not seen as many images (8 and 1,000)",
        "exported: its configuration is not known",
        "exported was trained on these images of domain B: its figures are too good",
        "second is not measured: it has no snapshot yet",
    ):
        assert f"note: {note}" in printed, printed
        assert note in (out / "index.html").read_text()
    assert "Differences of the configurations" in printed
    code, printed, err = command(compare.main, exported, trained[0], "--out", out)
    assert code == 0 and "Differences of the configurations" not in printed, err  # only one is known


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("first",), "give two or more folders"),
        (("first", "first/"), "runs/first is given twice"),
        (("first", "second", "--snapshot", "best"), "runs/first has no best snapshot"),
        (("first", "second", "--split", "test"), "--split test: give --data"),
        (("first", "nowhere"), "nowhere is neither a snapshot nor a run"),
        (("first", "second", "--out", "first/config.yaml"), "cannot write"),
    ],
)
def test_bad_input_is_one_line(
    recorded: list[Path], command: Command, arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = recorded[0].parent
    monkeypatch.chdir(runs.parent)
    paths = [one if one.startswith("-") or one in ("best", "test") else f"runs/{one}" for one in arguments]
    code, _, err = command(compare.main, *paths)
    assert code == 2 and message in err and err.count("\n") == 1, err
    assert not Path("comparison").exists()


def test_the_best_snapshot_is_taken_if_it_is_wanted(trained: list[Path]) -> None:
    run = trained[0]
    shutil.copytree(run / "snapshots" / "nimg-000000008", run / "snapshots" / "nimg-000000004")
    best = {"figure": "kd/untrained", "value": 0.5, "snapshot": "snapshots/nimg-000000004"}
    (run / "best.json").write_bytes(dump_checked(best))
    (found,) = open_sources([str(run)], "best")
    assert found.facts["snapshot"] == "nimg-000000004 (best by kd/untrained)"
    (found,) = open_sources([str(run)], "newest")
    assert found.facts["snapshot"] == "nimg-000000008 (newest)"


def test_a_snapshot_that_was_chosen_by_the_images_is_said_to_be(
    trained: list[Path], tiny_run: MakeRun, held_out: Path, tmp_path: Path, command: Command
) -> None:
    third = tiny_run(name="third", held_out__data=str(held_out)).run_dir
    shutil.copytree(trained[0] / "snapshots", third / "snapshots")
    best = {"figure": "kd/untrained", "value": 0.5, "snapshot": "snapshots/nimg-000000008"}
    for run in (trained[0], third):
        (run / "best.json").write_bytes(dump_checked(best))
    arguments = (trained[0], third, "--data", held_out, "--out", tmp_path / "page", *WHAT)
    code, printed, err = command(compare.main, *arguments, "--snapshot", "best", "--metrics", "cycle")
    assert code == 0 and printed.count("was chosen by these images") == 1, err
    assert "third: its snapshot was chosen by these images, so its figures are too good" in printed


def test_a_figure_of_a_kept_evaluation_has_its_parts(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps({"figures": {"kd_AB": {"value": 2.0}}}))
    kept = {"figures": {"kd_AB": [2.0, [1.0, 3.0], 7]}, "names": {}, "shown": {}}
    (tmp_path / "parts.json").write_text(json.dumps(kept))
    assert cached.EvaluationWithParts.read(tmp_path).figures == {"kd_AB": Figure(2.0, (1.0, 3.0), 7)}
