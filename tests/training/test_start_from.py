"""Runs that start from the weights of a run, a snapshot or published files: as promised of any run."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cyclegan_dist.config.config import Config, check_config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.training.parts import build
from cyclegan_dist.training.start_from import read_start
from tests.conftest import make_run
from tests.models.test_reference_weights import Resnet
from tests.service.running import make_snapshot
from tests.training.trainings import ALONE, differences, final_state, go, go_on, records

MakeRun = Callable[..., Config]


@pytest.fixture(scope="module")
def source(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of ten steps."""
    home = tmp_path_factory.mktemp("source")
    averaged = {"optim__ema_half_life_images": 4.0}
    config = make_run(home, name="source", data__path=str(dataset), stop_after=20, seed=5, **averaged)
    go(config)
    return config.run_dir


def discriminator(channels: int = 3) -> nn.Module:
    """A published one with one strided layer, ndf 4."""
    layers = [nn.Conv2d(channels, 4, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(4, 8, 4, 1, 1), nn.InstanceNorm2d(8)]
    model = nn.Module()
    model.model = nn.Sequential(*layers, nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 4, 1, 1))
    return model


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A folder of published checkpoints."""
    folder = tmp_path / "published"
    folder.mkdir()
    torch.manual_seed(3)
    for letter in "AB":
        torch.save(Resnet(3, 3, 4, 1).state_dict(), folder / f"latest_net_G_{letter}.pth")
        torch.save(discriminator().state_dict(), folder / f"latest_net_D_{letter}.pth")
    return folder


def first_weights(config: Config) -> dict[str, Any]:
    """The step's state before the first update."""
    parts = build(config, ALONE, None)
    parts.resume()
    state = parts.step.state_dict()
    return {**state, "networks": {name: x.clone() for name, x in state["networks"].items()}}


@pytest.mark.parametrize(("ranks", "fast"), [(1, "off"), (2, "off"), (2, "on")])
def test_resumed_equals_uninterrupted_and_the_source_is_read_once(
    tiny_run: MakeRun, source: Path, tmp_path: Path, ranks: int, fast: str
) -> None:
    shutil.copytree(source, tmp_path / "from")
    options = {"init_from": str(tmp_path / "from"), "init_parts": "all", "optim__fast": fast}
    options["optim__ema_half_life_images"] = 20.0
    whole, cut = (tiny_run(name=name, stop_after=end, **options) for name, end in (("whole", 24), ("cut", 12)))
    shutil.rmtree(tmp_path / "from")
    go_on(ranks, whole)
    go_on(ranks, cut)
    go_on(ranks, cut := tiny_run(name="cut", stop_after=24, **options))
    states = [final_state(config, ranks) for config in (whole, cut)]
    assert differences(*states) == []
    assert states[0][0]["initialised_from"]["parts"] == ["G_AB", "G_BA", "D_A", "D_B", "moments", "average"]


def test_one_rank_equals_two(tiny_run: MakeRun, source: Path) -> None:
    options = {"method__pool_size": 0, "optim__precision": "fp64", "init_from": str(source), "stop_after": 12}
    networks = []
    for ranks in (1, 2):
        go_on(ranks, config := tiny_run(name=f"of-{ranks}", **options))
        networks.append(final_state(config, 1)[0]["step"]["networks"])
    one, two = networks
    weights = [name for name in one if name.endswith("weight")]
    assert max(float((one[name] - two[name]).abs().max()) for name in weights) < 1e-9


def test_the_parts_of_a_run_are_chosen(tiny_run: MakeRun, source: Path) -> None:
    theirs = torch.load(max(source.glob("checkpoints/step-*")) / "shared.pt", weights_only=True)["step"]
    drawn = first_weights(tiny_run(name="drawn", optim__ema_half_life_images=20.0))
    for parts, equal in {"generators": "G", "networks": "GD", "auto": "GD", "all": "GD"}.items():
        config = tiny_run(name=parts, init_from=str(source), init_parts=parts, optim__ema_half_life_images=20.0)
        begun = first_weights(config)
        for name, weight in begun["networks"].items():
            assert torch.equal(weight, (theirs if name[0] in equal else drawn)["networks"][name])
        whole = ["optimizers", "ema"] if parts == "all" else []
        assert [key for key in ("optimizers", "ema") if same(begun[key], theirs[key])] == whole
        if parts != "all":
            assert same(begun["optimizers"], drawn["optimizers"])
    assert "ema" not in first_weights(tiny_run(name="plain", init_from=str(source), init_parts="all"))


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    """Whether two states of optimizers, without learning rates, or of averages are equal."""
    if "G" in one:
        one, two = ({player: x["state"] for player, x in state.items()} for state in (one, two))
    return all(one[key].keys() == two[key].keys() for key in "GD" if key in one) and not differences(one, two)


def test_other_data_than_the_source_was_trained_on_are_one_line(tiny_run: MakeRun, source: Path) -> None:
    assert read_start(tiny_run(name="alike", init_from=str(source))).facts["other_data"] == []
    turned = tiny_run(name="turned", init_from=str(source), data__direction="BtoA", stop_after=2)
    go(turned)
    lines = [r["text"] for r in records(turned) if r.get("text", "").startswith("initialised from")]
    (line,) = lines
    assert line.endswith("D_A D_B; data.direction was AtoB, and is BtoA")


def test_another_value_range_than_that_of_the_source_is_named(tiny_run: MakeRun, tmp_path: Path) -> None:
    folder = make_snapshot(tmp_path / "deep")
    path = folder / "card.json"
    values = {"A": {"dtype": "uint16", "black": 0, "white": 4095}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"values": values}))
    config = dataclasses.replace(tiny_run(), init_from=str(folder), init_parts="generators")
    config = dataclasses.replace(
        config, method=dataclasses.replace(config.method, generator=Snapshot.open(folder).generator_config)
    )
    (found,) = read_start(config).facts["other_data"]
    assert found == "domain A had uint16 of 0 (black) to 4095 (white), and has 8 bits"


def test_published_files_give_all_networks_with_their_reversed_names(tiny_run: MakeRun, published: Path) -> None:
    begun = first_weights(tiny_run(init_from=str(published)))["networks"]
    for ours, theirs in {"G_AB": "G_A", "G_BA": "G_B", "D_A": "D_B", "D_B": "D_A"}.items():
        state = torch.load(published / f"latest_net_{theirs}.pth", weights_only=True)
        assert state
        assert all(torch.equal(begun[f"{ours}.{name}"], x) for name, x in state.items())


def test_published_files_of_one_direction(published: Path) -> None:
    generator = {"arch": "resnet", "ngf": 4, "n_blocks": 1, "dropout": False}
    small = {"generator": generator, "discriminator": {"ndf": 4, "n_layers_D": 1}}
    torch.save(discriminator(6).state_dict(), published / "latest_net_D.pth")
    (published / "latest_net_D_A.pth").unlink()  # of another method: it judges single images
    for start, parts in (("latest_net_G_A.pth", ["G_AB"]), ("", ["G_AB", "D_B"])):
        one = {"method": {"name": "pix2pix", **small}, "data": {"crop_size": 16}, "init_from": str(published / start)}
        assert read_start(check_config(one, "test")).facts["parts"] == parts


def test_published_generators_alone(tiny_run: MakeRun, published: Path) -> None:
    for letter in "AB":
        (published / f"latest_net_D_{letter}.pth").unlink()
    assert read_start(tiny_run(name="x", init_from=str(published))).facts["parts"] == ["G_AB", "G_BA"]


def test_journal_card_and_checkpoint_say_where_the_weights_come_from(tiny_run: MakeRun, tmp_path: Path) -> None:
    made = make_snapshot(tmp_path / "made")
    config = tiny_run(init_from="made", stop_after=8)  # a relative path, from here on absolute
    go(config)
    run = next(record for record in records(config) if record["kind"] == "run")
    facts = run["initialised_from"]
    assert facts["source"] == str(made) and facts["parts"] == ["G_AB", "G_BA"]
    assert facts["sha256"].keys() == {"G_AB.safetensors", "G_BA.safetensors"}
    assert any(f"initialised from {made}: G_AB G_BA" in record.get("text", "") for record in records(config))
    assert Snapshot.open(config.run_dir).card["initialised_from"] == facts
    assert final_state(config, 1)[0]["initialised_from"] == facts
    go(tiny_run(init_from="made", stop_after=12))
    assert [record for record in records(config) if record["kind"] == "run"][-1]["initialised_from"] == facts


def test_a_run_without_a_checkpoint_gives_its_newest_snapshot(tiny_run: MakeRun, source: Path, tmp_path: Path) -> None:
    shutil.copytree(source, tmp_path / "from")
    shutil.rmtree(tmp_path / "from" / "checkpoints")
    facts = read_start(tiny_run(init_from=str(tmp_path / "from"))).facts
    assert facts["parts"] == ["G_AB", "G_BA"] and "G_AB.safetensors" in facts["sha256"]


def test_a_run_that_died_before_its_first_checkpoint_still_has_its_start(tiny_run: MakeRun, tmp_path: Path) -> None:
    config = tiny_run(init_from=str(make_snapshot(tmp_path / "made")))
    begun = first_weights(config)
    shutil.rmtree(tmp_path / "made")
    assert differences(begun["networks"], first_weights(tiny_run(init_from=str(tmp_path / "made")))["networks"]) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"init_from": "absent"}, "/absent does not exist: give the folder of a run or a snapshot, a published .pth"),
        ({"init_from": "s3://x/y"}, "must be a local path, or a registered model"),
        ({"method__generator__ngf": 8}, "has generators of ngf 4, not 8: give --method.generator.ngf 4$"),
        ({"method__generator__n_blocks": 2}, "generators of n_blocks 1, not 2: give"),
        ({"method__generator__padding": "zero"}, "generators of padding reflect, not zero: give"),
        ({"method__input_nc": 1, "method__lambda_identity": 0}, "other channels .* method.input_nc 1 .* G_AB.model.1.weight has the shape 4x3x7x7, not 4x1x7x7"),
        ({"method__discriminator__ndf": 8}, "no discriminators of this run's kind: D_A.model.0.weight has the shape 4x3x4x4, not 8x3x4x4"),
        ({"method__discriminator__n_layers_D": 2}, "no discriminators of this run's kind"),
        ({"init_from": "made", "init_parts": "networks"}, "D_A.model.0.weight is missing; .* or --init_parts generators"),
        ({"init_from": "made", "init_parts": "all"}, "D_A.model.0.weight is missing"),
        ({"init_from": "one"}, "does not translate B to A, which the method cyclegan needs too: give a source with both"),
        ({"init_from": "published", "init_parts": "all"}, "has no moments of Adam: give --init_parts networks"),
        ({"init_from": "published/latest_net_G_A.pth"}, "does not translate B to A, .* for published files their folder"),
        ({"init_from": "published/latest_net_D_A.pth"}, "holds no generator"),
        ({"init_from": "published/odd.pth"}, "no published file that is known by its name"),
        ({"init_from": "published/200_net_G_A.pth"}, "was not loaded: it is damaged"),
        ({"init_from": "other-method"}, "was trained with the method pix2pix, not cyclegan"),
        ({"init_from": "models:/horses@champion"}, "there is no MLflow store"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line_before_anything_is_written(
    tiny_run: MakeRun, source: Path, published: Path, tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    make_snapshot(tmp_path / "made"), make_snapshot(tmp_path / "one", directions="AB")
    card = make_snapshot(tmp_path / "other-method") / "card.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "method": "pix2pix"}))
    (published / "odd.pth").touch(), (published / "200_net_G_A.pth").write_bytes(b"noise")
    with pytest.raises(UsageError, match=says) as error:
        tiny_run(**{"init_from": str(source), **options})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "runs").exists()


def test_a_discriminator_of_another_kind_can_be_left_out(tiny_run: MakeRun, source: Path) -> None:
    options = {"method__discriminator__ndf": 8, "init_parts": "generators", "stop_after": 4}
    assert go(tiny_run(init_from=str(source), **options)) == "FINISHED"


def test_a_start_that_is_lost_is_named(tiny_run: MakeRun, source: Path) -> None:
    config = tiny_run(init_from=str(source))
    RunFolder(config.run_dir).start.unlink()
    with pytest.raises(UsageError, match=r"start\.safetensors is missing or damaged"):
        go(config)
