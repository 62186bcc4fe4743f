"""Names of domains, from a data set through a training to what people read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.manifest import READING, open_manifest
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.evaluation.measure import evaluate
from cyclegan_dist.evaluation.report import write_report
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.training.hooks.samples import translation_grid
from cyclegan_dist.training.start_from import read_start
from pipelines import gallery, runs, study, translate
from tests.conftest import Answer, named, size_of
from tests.evaluation.functions import IDENTITY, generators
from tests.training.trainings import ALONE, go, records

MakeRun = Callable[..., Config]
CAPTION = 20  # pixels


@pytest.fixture
def data(dataset: Path, tmp_path: Path) -> Path:
    return named(dataset, tmp_path / "named")


def test_names_go_from_the_data_to_all_that_people_read(
    tiny_run: MakeRun, data: Path, folders: tuple[Path, Path], command: Callable[..., Answer], tmp_path: Path
) -> None:
    config = tiny_run(data__path=str(data), data__direction="BtoA", every__samples=4, stop_after=4)
    go(config)
    exchanged = {"A": "winter", "B": "summer"}
    found = records(config)
    assert next(record for record in found if record["kind"] == "run")["domain_names"] == exchanged
    assert "domains: A is winter, B is summer" in [record["text"] for record in found if record["kind"] == "message"]
    snapshot = Snapshot.open(config.run_dir)
    assert snapshot.domain_names == exchanged == snapshot.card["domain_names"]
    assert snapshot.described() == "winter to summer and summer to winter"
    assert size_of(config.run_dir / "samples" / "nimg-000000000.png")[1] == 6 * (CAPTION + 16 + 4)
    # A direction is called by the names, by those that know only the data set too.
    assert (snapshot.direction("winter-to-summer"), snapshot.way("AB")) == ("AB", "BA")
    assert snapshot.way("winter-to-summer") == "AB"

    with generators(IDENTITY, IDENTITY):
        manifest = open_manifest(str(data), (*READING, "name"))
        evaluation = evaluate(snapshot, manifest, EvaluationConfig(), ALONE)
    texts = [finding.text for finding in evaluation.findings]
    assert len(texts) == 2 and "translation winter to summer changes its input" in texts[0]
    assert json.loads(evaluation.to_json())["domain_names"] == exchanged
    page = write_report(evaluation, tmp_path / "report").read_text()
    for text in ("summer to winter", "back to summer", "domain winter", "A is winter, B is summer"):
        assert text in page, text

    code, out, _ = command(
        translate.main, config.run_dir, folders[0], tmp_path / "out", "--direction", "summer-to-winter"
    )
    assert code == 0 and "7 images translated" in out
    code, out, _ = command(gallery.main, config.run_dir, *folders, tmp_path / "gallery", "--count", 1)
    assert code == 0 and "winter to summer" in (tmp_path / "gallery" / "index.html").read_text()
    code, out, _ = command(runs.main)
    assert code == 0 and "domains" in out.splitlines()[0] and "winter, summer" in out
    few = ("--practice", 1, "--scored", 2, "--no-serve")
    code, out, err = command(study.main, config.run_dir, "--data", data, "--direction", "summer-to-winter", *few)
    assert code == 0 and "10 real images of domain winter" in out, err


def test_a_grid_without_names_has_no_captions() -> None:
    images = {f"real_{domain}": torch.rand(2, 3, 16, 16) * 2 - 1 for domain in "AB"}
    networks = {"AB": torch.nn.Identity(), "BA": torch.nn.Identity()}
    plain = translation_grid(networks, images)
    assert plain.shape == (3, 2 * (3 * 18 + 2), 2 * 18 + 2)
    long = translation_grid(networks, images, {"A": "summer", "B": "winter"})
    assert long.shape[1] == 6 * (CAPTION + 20) and long.shape[2] > plain.shape[2]
    assert torch.equal(long[:, CAPTION : CAPTION + 20, : 2 * 18 + 2], plain[:, :20])
    one = translation_grid({"AB": networks["AB"]}, images, {"A": "summer", "B": "winter"})
    assert torch.equal(one[:, -20:, : 2 * 18 + 2], long[:, -3 * (CAPTION + 20) + CAPTION :][:, :20, : 2 * 18 + 2])


def test_exchanged_domains_are_refused(
    tiny_run: MakeRun, dataset: Path, data: Path, command: Callable[..., Answer], tmp_path: Path
) -> None:
    wrong, july = named(dataset, tmp_path / "wrong", "winter summer"), named(dataset, tmp_path / "july", "july january")
    message = r"/wrong: domain A is winter, which is domain B of .*: the domains are exchanged; prepare"
    with pytest.raises(UsageError, match=message):
        tiny_run(data__path=str(data), held_out__data=str(wrong), held_out__features=["untrained"])
    assert not (tmp_path / "runs").exists()
    config = tiny_run(data__path=str(data), stop_after=2)
    go(config)
    snapshot = Snapshot.open(config.run_dir)
    with pytest.raises(UsageError, match=message):
        evaluate(snapshot, open_manifest(str(wrong), (*READING, "name")), EvaluationConfig(), ALONE)
    for main, arguments in (
        (translate.main, (config.run_dir, wrong, tmp_path / "out")),
        (study.main, (config.run_dir, "--data", wrong, "--practice", 1, "--scored", 2, "--no-serve")),
    ):
        code, _, err = command(main, *arguments)
        assert code == 2 and "/wrong: domain A is winter" in err and err.count("\n") == 1
    # Others are not: they may be meant.
    said: list[str] = []
    with generators(IDENTITY, IDENTITY):
        manifest = open_manifest(str(july), (*READING, "name"))
        evaluate(snapshot, manifest, EvaluationConfig(), ALONE, report=said.append)
    assert said == [
        f"{july} has other domains than snapshot {snapshot.folder}: A is july, B is january; there "
        "A is summer, B is winter"
    ]
    start = read_start(tiny_run(name="further", data__path=str(wrong), init_from=str(config.run_dir)))
    assert start.facts["other_data"] == ["domain A was summer, and is winter", "domain B was winter, and is summer"]


def test_a_run_goes_on_with_the_names_it_has_begun_with(tiny_run: MakeRun, dataset: Path, data: Path) -> None:
    go(tiny_run(stop_after=4))
    with pytest.raises(UsageError, match="trained on: it has the same images, prepared with other options"):
        tiny_run(data__path=str(data), stop_after=8)
    go(config := tiny_run(stop_after=8))
    assert Snapshot.open(config.run_dir).domain_names == {} and "domain_names" not in records(config)[0]


def test_a_card_with_other_names_is_damaged(tiny_run: MakeRun, data: Path) -> None:
    go(config := tiny_run(data__path=str(data), stop_after=2))
    card = Snapshot.open(config.run_dir).folder / "card.json"
    for names in ({"A": "<b>", "B": "x"}, {"A": "summer"}, {"A": 1, "B": 2}, "summer", ["summer", "winter"]):
        card.write_text(json.dumps(json.loads(card.read_text()) | {"domain_names": names}))
        with pytest.raises(UsageError, match=r"is damaged: card.json: domain_names"):
            Snapshot.open(config.run_dir)
