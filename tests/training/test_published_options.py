"""Runs with the published code's choices: which data, which norm, and runs that were begun before an option existed."""

from collections.abc import Callable

import pytest
import torch
import yaml

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.training.parts import build
from cyclegan_dist.training.run_folder import read_config
from tests.training.trainings import ALONE, final_state, go, go_on, records

MakeRun = Callable[..., Config]
SHORT = {"schedule__n_epochs": 1, "schedule__n_epochs_decay": 0}
SELECTED = {"data__direction": "BtoA", "data__max_samples": 5, "data__pairing": "serial"}


def test_two_ranks_equal_one_on_selected_data(tiny_run: MakeRun) -> None:
    options = {"method__pool_size": 0, "optim__precision": "fp64", "optim__batch_size": 4, **SHORT, **SELECTED}
    go(tiny_run(name="one", **options))
    go_on(2, tiny_run(name="two", **options))
    one, two = (final_state(tiny_run(name=name, **options), 1)[0]["step"]["networks"] for name in ("one", "two"))
    weights = [key for key in one if key.endswith("weight")]
    assert max(float((one[key] - two[key]).abs().max()) for key in weights) < 1e-9


def test_a_run_on_exchanged_domains_says_so_everywhere(tiny_run: MakeRun) -> None:
    config = tiny_run(every__snapshot=8, **SELECTED)
    go(config)
    (started,) = (record for record in records(config) if record["kind"] == "run")
    plain = build(tiny_run(name="plain"), ALONE, None).manifest.selected(max_samples=5)
    assert started["total"] == 4 * 5  # four epochs of five images
    assert [data["digest"] for data in started["data"]] == [plain.domain_digest("B"), plain.domain_digest("A")]
    snapshot = Snapshot.open(config.run_dir)
    assert snapshot.data_direction == "BtoA" and snapshot.card["preprocess"]["max_samples"] == 5


@pytest.mark.parametrize(("option", "value"), [("direction", "AtoB"), ("max_samples", 6), ("pairing", "random")])
def test_the_selection_must_not_change_on_resume(tiny_run: MakeRun, option: str, value: object) -> None:
    go(tiny_run(stop_after=4, **SELECTED))
    with pytest.raises(UsageError, match=rf"data\.{option}: .* -> {value}"):
        tiny_run(**{**SELECTED, f"data__{option}": value})


@pytest.mark.parametrize(
    ("options", "ranks"), [({"optim__micro_batch": 1}, 1), ({}, 2)], ids=["accumulation", "two ranks"]
)
def test_batch_norm_in_parts_is_refused(tiny_run: MakeRun, options: dict[str, int], ranks: int) -> None:
    config = tiny_run(method__discriminator__norm="batch", **options)
    with pytest.raises(UsageError, match=r"^norm batch computes a step's whole batch at once.*or norm instance$"):
        build(config, World(0, ranks, torch.device("cpu")), None)
    assert config.largest_world(8) == 1 and tiny_run(name="plain").largest_world(8) == 2


@pytest.mark.parametrize("fast", ["auto", "on", "off"])
def test_a_gradient_penalty_is_recorded_as_other_updates_are(
    tiny_run: MakeRun, fast: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OptimConfig, "is_fast", lambda config, device: config.fast != "off")  # as on a GPU
    go(config := tiny_run(method__gradient_penalty__at="mix", optim__fast=fast, stop_after=4))
    assert read_config(config.run_dir).optim.fast == ("off" if fast == "off" else "on")


def test_batch_norm_translates_with_running_statistics(tiny_run: MakeRun) -> None:
    config = tiny_run(every__snapshot=8, method__generator__norm="batch", optim__fast="on", **SHORT)
    go(config)
    assert any("optim.fast is off: norm batch" in record.get("text", "") for record in records(config))
    trained = final_state(config, 1)[0]["step"]["networks"]
    generator = Snapshot.open(config.run_dir).generator("AB")
    for name, value in generator.state_dict().items():
        assert torch.equal(value, trained[f"G_AB.{name}"].to(value.dtype)), name
    assert generator.get_buffer("model.2.running_mean").abs().sum() > 0


def weight(config: Config) -> float:
    assert isinstance(config.method, CycleGANConfig)
    return config.method.lambda_critic


def test_an_old_run_with_wgangp_keeps_its_loss(tiny_run: MakeRun) -> None:
    """Before `lambda_critic` existed the loss was not halved, and config.yaml had no such key."""
    options = {"method__gan_mode": "wgangp", **SHORT}
    whole = tiny_run(name="whole", method__lambda_critic=1.0, **options)
    go(whole)
    config = tiny_run(stop_after=4, method__lambda_critic=1.0, **options)
    go(config)
    path = config.run_dir / "config.yaml"
    tree = yaml.safe_load(path.read_text())
    del tree["method"]["lambda_critic"], tree["schedule"]["timing"], tree["data"]["direction"]
    path.write_text(yaml.safe_dump(tree))
    assert weight(read_config(config.run_dir)) == 1.0
    resumed = tiny_run(**options)  # the same command as before, which does not name the option
    assert weight(resumed) == 1.0 and resumed.schedule.timing == "end"
    assert weight(tiny_run(**options)) == 1.0  # and once more, when the file has the option
    go(resumed)
    one, two = (final_state(run, 1)[0]["step"]["networks"] for run in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)
    with pytest.raises(UsageError, match=r"method\.lambda_critic: 1\.0 -> 2\.0"):
        tiny_run(method__lambda_critic=2.0, **options)


def test_a_new_run_has_the_published_weight(tiny_run: MakeRun) -> None:
    config = tiny_run(method__gan_mode="wgangp")
    assert weight(config) == weight(read_config(config.run_dir)) == 0.5
