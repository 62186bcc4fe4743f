"""Promotion in a real MLflow store. `tests/faults/promotion.py` kills it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.config import EvaluationConfig
from pipelines import promote
from tests.conftest import Answer
from tests.promotion.setting import Setting, promoting
from tests.training.trainings import ALONE, differences, final_state, go

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::Warning", "ignore::ResourceWarning")]  # MLflow's


@pytest.fixture
def setting(tiny_run: Callable[..., Config], dataset: Path, own_home: Path) -> Iterator[Setting]:
    config = tiny_run(stop_after=4)
    go(config)
    with promoting(config, dataset, own_home) as setting:
        yield setting


def test_the_better_one_is_champion_and_the_other_is_refused(setting: Setting, own_home: Path) -> None:
    from cyclegan_dist.promotion.approval import roll_back
    from cyclegan_dist.registry.sources import open_source
    from cyclegan_dist.registry.versions import list_versions

    worse, good = setting.candidate(0.5, "horse zebra"), setting.candidate()
    tried = setting.promote(good, dry_run=True)
    assert tried.verdict.passed and not tried.moved and setting.aliases() == {}
    first = setting.promote(worse)
    assert first.champion == "1" and first.moved
    assert list_versions("horses")[0].tags.items() >= {("domain.A", "horse"), ("domain.B", "zebra")}
    with pytest.raises(UsageError, match=r"domain A is zebra, which is domain B of the champion: .* --name, or train"):
        setting.promote(setting.candidate(0.4, "zebra horse"))
    assert setting.promote(good).champion == "2"
    assert setting.aliases() == {"champion": "2", "previous": "1"}
    again = setting.promote(good)
    assert again.verdict.reason == "it is champion already" and not again.moved
    refused = setting.promote(worse)
    assert (
        not (refused.verdict.passed or refused.moved)
        and refused.champion == "2"
        and "not lower beyond the interval" in refused.verdict.reason
    )
    assert setting.aliases() == {"champion": "2", "previous": "1"}

    fetched = open_source("models:/horses@champion")
    x = torch.rand(1, 3, 16, 16)
    for direction in ("AB", "BA"):
        assert torch.equal(fetched.generator(direction)(x), good.snapshot.generator(direction)(x))
    version = list_versions("horses")[0]
    assert version.aliases == ("champion",) and float(version.tags["kd.untrained_AB"]) > 0
    carried = {path.name for path in evidence(version.number, own_home)}
    assert {"config.yaml", "metrics.json", "exports.json", "samples.png", "README.md"} <= carried

    assert roll_back("horses") == ("2", "1")
    assert setting.aliases() == {"champion": "1", "previous": "2"}


def test_a_training_state_comes_with_a_version_and_starts_another_training(
    setting: Setting, tiny_run: Callable[..., Config], own_home: Path
) -> None:
    from cyclegan_dist.promotion.promote import Candidate
    from cyclegan_dist.registry.sources import open_source
    from cyclegan_dist.registry.versions import list_versions
    from cyclegan_dist.training.start_from import read_start

    good = setting.candidate()
    assert setting.promote(good).state_bytes == 0
    options = {"name": "further", "init_from": "models:/horses@champion", "stop_after": 4}
    assert read_start(tiny_run(**options)).facts["parts"] == ["G_AB", "G_BA"]
    outcome = setting.promote(good, with_state=True)  # the same generators, now with their state
    assert (outcome.champion, outcome.verdict.passed) == ("2", True)
    assert setting.promote(good, with_state=True).verdict.reason == "it is champion already"
    assert setting.promote(good).champion == "2"
    version = list_versions("horses")[0]
    state = next(path for path in evidence(version.number, own_home) if path.name == "state.safetensors")
    assert 0.9 * state.stat().st_size < outcome.state_bytes < state.stat().st_size

    theirs = final_state(setting.config, 1)[0]["step"]
    start = read_start(tiny_run(**{**options, "name": "all", "init_parts": "all"}))
    assert differences(start.networks, theirs["networks"]) == []
    assert start.facts["parts"] == ["G_AB", "G_BA", "D_A", "D_B", "moments"]
    assert start.facts["sha256"] == {"state.safetensors": version.tags["state_sha256"]}
    assert go(tiny_run(**{**options, "name": "all", "init_parts": "all"})) == "FINISHED"

    cached = open_source("models:/horses@champion").folder
    (cached / "state.safetensors").write_bytes(b"noise")  # downloaded again
    assert read_start(tiny_run(**{**options, "name": "all", "init_parts": "all"})).facts == start.facts
    (cached / "state.safetensors").write_bytes(b"noise")
    (original,) = [path for path in (own_home / "mlartifacts").rglob("state.safetensors")]
    original.write_bytes(original.read_bytes()[:-1] + b"x")
    with pytest.raises(UsageError, match="training state is not the one that was registered"):
        tiny_run(**{**options, "name": "changed"})
    assert open_source("models:/horses@champion").digest() == good.snapshot.digest()  # translating needs no state

    with pytest.raises(UsageError, match="give its folder, not its MLflow id"):
        setting.promote(Candidate(good.snapshot, good.run_id, good.config), with_state=True)
    (checkpoint,) = (setting.config.run_dir / "checkpoints").glob("step-*")
    checkpoint.rename(checkpoint.with_name("step-000000007"))
    with pytest.raises(UsageError, match=r"is of step 2, and .* has no valid checkpoint of it, only of 7: name a snap"):
        setting.promote(good, with_state=True)


def evidence(version: str, folder: Path) -> list[Path]:
    import mlflow

    got = Path(mlflow.artifacts.download_artifacts(f"models:/horses/{version}", dst_path=str(folder / "got")))
    assert not [path for path in got.rglob("*") if path.suffix in (".pkl", ".pickle", ".pt", ".pth")]
    parity = json.loads(next(got.rglob("exports.json")).read_text())
    assert "safetensors" in json.dumps(parity)
    return list(got.rglob("*"))


def test_a_concurrent_promotion_is_refused(setting: Setting, own_home: Path) -> None:
    from mlflow import MlflowClient

    from cyclegan_dist.registry.versions import Registered

    with (
        Registered("horses").alone(own_home),
        pytest.raises(UsageError, match="another promotion of horses is running"),
    ):
        setting.promote(setting.candidate())
    client = MlflowClient()
    client.create_registered_model("horses--promotion", tags={"holder": "elsewhere process 1"})
    with pytest.raises(UsageError, match=r"by elsewhere process 1: .* delete the registered model horses--promotion"):
        setting.promote(setting.candidate())
    client.delete_registered_model("horses--promotion")
    assert setting.promote(setting.candidate()).champion == "1"


def test_a_run_is_promoted_by_its_id_too(setting: Setting) -> None:
    from cyclegan_dist.promotion.promote import find_candidate

    run_id = setting.candidate().run_id
    fetched = find_candidate(run_id)
    assert fetched.run_id == run_id and "method.lambda_cycle_A: '10.0'" in fetched.config
    with pytest.raises(UsageError, match="cannot be loaded"):
        find_candidate("0" * 32)


def test_there_is_nothing_to_roll_back_to_or_list(setting: Setting) -> None:
    from cyclegan_dist.promotion.approval import roll_back
    from cyclegan_dist.registry.versions import list_versions

    with pytest.raises(UsageError, match="nothing to roll back to"):
        roll_back("horses")
    with pytest.raises(UsageError, match="nothing is registered as horses"):
        list_versions("horses")


@pytest.mark.parametrize("name", ["a/b", "x@prod", "a b", "", "../x", "a" * 129, "a?b"])
def test_names_that_no_uri_can_hold_are_refused(name: str) -> None:
    from cyclegan_dist.registry.versions import Registered

    with pytest.raises(UsageError, match="give letters, digits"):
        Registered(name)


def test_a_gate_of_another_network_is_refused_before_anything_is_evaluated(dataset: Path) -> None:
    from cyclegan_dist.data.manifest import open_manifest
    from cyclegan_dist.promotion.gate import Gate
    from cyclegan_dist.promotion.promote import Promotion

    config = EvaluationConfig(features=("efficientnet_lite0",))
    with pytest.raises(UsageError, match="gate: figure kd/untrained is not measured with features efficientnet_lite0"):
        Promotion("horses", open_manifest(str(dataset), ()), Gate(), config, ALONE)


def test_a_missing_name_is_refused_before_anything_is_recorded(
    tiny_run: Callable[..., Config], dataset: Path, command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_run(stop_after=4)
    go(config)
    monkeypatch.setattr("cyclegan_dist.promotion.promote.find_candidate", lambda run: pytest.fail("it was synced"))
    code, _, err = command(promote.main, config.run_dir, "--data", dataset)
    assert code == 2 and "give a name (--name)" in err
