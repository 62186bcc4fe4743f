"""A run that is trained again: what it was made from, what differs now, and whether the result is equal."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from cyclegan_dist.config.config import Config, dump_config, load_config
from cyclegan_dist.reproduction import prepared
from cyclegan_dist.reproduction.conditions import conditions_of, verdict
from cyclegan_dist.reproduction.equality import compare
from cyclegan_dist.reproduction.origin import Origin, open_origin
from cyclegan_dist.training.run_folder import open_run
from pipelines import reproduce
from tests.conftest import Answer, make_dataset
from tests.promotion.setting import promoting
from tests.training.trainings import go

Command = Callable[..., Answer]


@pytest.fixture
def trained(tiny_run: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> Config:
    """A run of four steps, of a source in git: tests may run without a repository."""
    for module in ("training.parts", "reproduction.conditions"):
        monkeypatch.setattr(f"cyclegan_dist.{module}.source_commit", lambda: "a" * 40)
    config = tiny_run(stop_after=8, every__log=2)
    go(config)
    return config


def again(origin: Origin, home: Path, **changes: Any) -> str:
    """Trains it again, by what the prepared file says. Returns the run's folder."""
    prepared.write(origin, home / "prepared", {})
    config = dataclasses.replace(load_config(str(home / "prepared" / "config.yaml")), **changes)
    go(open_run(config))
    return str(config.run_dir)


def test_a_run_that_is_trained_again_is_equal_bit_for_bit(trained: Config, own_home: Path, command: Command) -> None:
    origin = open_origin(str(trained.run_dir))
    run = again(origin, own_home)
    assert run == str(prepared.run_dir_of(origin)) and prepared.arguments_of(origin, own_home)[1:] == [
        "--launcher",
        "local",
    ]
    found = compare(origin, open_origin(run))
    assert found.outcome == "equal" and found.facts["weights_distance"] == 0
    assert found.facts["losses"]["steps"] == 4 and found.facts["losses"]["different"] == 0
    code, out, _ = command(reproduce.main, trained.run_dir, "--compare", run)
    assert code == 0 and "weights: equal bit for bit, sha256" in out and out.endswith(": equal\n")

    other = again(origin, own_home, seed=3, name="other")
    found = compare(origin, open_origin(other))
    assert found.outcome == "different" and found.facts["configuration"] == {"seed": (0, 3)}
    assert found.facts["losses"]["first_different_step"] == 1
    code, out, _ = command(reproduce.main, trained.run_dir, "--compare", other, "--json")
    assert code == 1 and json.loads(out)["outcome"] == "different"


def test_weights_that_are_nearly_equal_are_equal_up_to_rounding(trained: Config, own_home: Path) -> None:
    origin, near = open_origin(str(trained.run_dir)), own_home / "runs" / "near"
    shutil.copytree(trained.run_dir, near)
    for path in near.glob("snapshots/*/*.safetensors"):
        save_file({name: weights * (1 + 1e-5) for name, weights in load_file(path).items()}, path)
    found = compare(origin, open_origin(str(near)))
    assert found.outcome == "equal up to rounding" and found.facts["weights_distance"] == pytest.approx(1e-5, rel=0.01)
    assert compare(origin, open_origin(str(near)), tolerance=1e-6).outcome == "different"
    journal = near / "metrics.jsonl"
    shutil.copyfile(trained.run_dir / "metrics.jsonl", journal)
    shutil.rmtree(near / "snapshots")
    shutil.copytree(trained.run_dir / "snapshots", near / "snapshots")
    line = next(line for line in journal.read_text().splitlines() if '"metrics"' in line)
    record = {key: value for key, value in json.loads(line).items() if key != "crc32"}
    record["values"] = {key: value + 1 for key, value in record["values"].items()}
    journal.write_text(journal.read_text().replace(line, json.dumps(record)))
    found = compare(origin, open_origin(str(near)))
    assert found.outcome == "equal up to rounding" and found.facts["losses"]["different"] > 0


def test_equal_weights_of_another_configuration_are_different(trained: Config, own_home: Path) -> None:
    other = own_home / "runs" / "other"
    shutil.copytree(trained.run_dir, other)
    (other / "config.yaml").write_text(dump_config(dataclasses.replace(trained, seed=4)))
    found = compare(open_origin(str(trained.run_dir)), open_origin(str(other)))
    assert found.outcome == "different" and found.facts["weights_distance"] == 0
    origin = open_origin(str(trained.run_dir))
    one, two = (
        dataclasses.replace(origin, starts=[{**origin.starts[0], "initialised_from": {"sha256": {"x": digest}}}])
        for digest in ("a" * 64, "b" * 64)
    )
    assert list(compare(one, two).facts["configuration"]) == ["init_from"]


def changed(origin: Origin, **facts: Any) -> Mapping[str, tuple[str, str]]:
    """State and effect of each condition, if the record of the run's start had other facts."""
    other = dataclasses.replace(origin, starts=[{**origin.starts[-1], **facts}])
    return {one.name: (one.state, one.effect) for one in conditions_of(other)}


def test_what_differs_from_then_is_said_with_what_follows(trained: Config, own_home: Path, tmp_path: Path) -> None:
    origin = open_origin(str(trained.run_dir))
    found = conditions_of(origin)
    assert {one.state for one in found} == {"same"} and verdict(found) == "can be reproduced bit for bit"
    made = dict(origin.environment)
    packages = {**made["packages"], "numpy": "1.0", "rich": "1.0"}
    assert changed(origin, environment={**made, "torch": "2.0"})["torch"][0] == "differs"
    assert changed(origin, environment={**made, "packages": packages})["packages"] == (
        "differs",
        "numbers go through these: install the versions of then",
    )
    harmless = {**made, "packages": {**made["packages"], "rich": "1.0"}}
    assert changed(origin, environment=harmless)["packages"] == ("same", "1 others differ, through which no numbers go")
    assert changed(origin, environment={})["torch"] == ("unknown", "it was not recorded")
    assert changed(origin, commit="c" * 40)["commit"] == ("differs", f"check it out: git checkout {'c' * 12}")
    assert changed(origin, changed="a" * 64)["uncommitted changes"] == ("differs", "the changes of then were not kept")
    assert changed(origin, environment={**made, "cuda": "13.0"})["GPU"][0] == "missing"
    data = [{"name": domain, "digest": "0" * 64} for domain in "AB"]
    assert changed(origin, data=data)["images of domain A"][0] == "missing"
    earlier = {**origin.starts[0], "commit": "c" * 40, "environment": {**made, "torch": "2.0"}}
    resumed = dataclasses.replace(origin, starts=[earlier, *origin.starts])
    others = "commit of all starts, torch of all starts"
    assert verdict(conditions_of(resumed)) == f"cannot be expected bit for bit, because of: {others}"
    unknown = {key: value for key, value in origin.starts[0].items() if key not in ("environment", "changed")}
    resumed = dataclasses.replace(origin, starts=[unknown, *origin.starts])
    assert verdict(conditions_of(resumed)).startswith(
        "may be reproduced bit for bit; not known: uncommitted changes of"
    )
    resumed = dataclasses.replace(origin, starts=[{**origin.starts[0], "world_size": 2}, *origin.starts])
    assert verdict(conditions_of(resumed)) == "cannot be expected bit for bit, because of: ranks"
    other = make_dataset(tmp_path / "other", seed=9)
    assert verdict(conditions_of(origin, str(other))).startswith("cannot be reproduced here: images of domain A")
    gone = dataclasses.replace(trained, data=dataclasses.replace(trained.data, path=str(tmp_path / "gone")))
    assert verdict(conditions_of(dataclasses.replace(origin, config=gone))) == "cannot be reproduced here: images"
    start = dataclasses.replace(trained, init_from=str(tmp_path / "gone"))
    assert "weights at the start" in verdict(conditions_of(dataclasses.replace(origin, config=start)))


def test_only_starts_that_the_snapshot_was_trained_by_count(trained: Config) -> None:
    """A start whose steps were lost does not."""
    start = next(line for line in (trained.run_dir / "metrics.jsonl").read_text().splitlines() if '"run"' in line)
    record = {key: value for key, value in json.loads(start).items() if key != "crc32"}
    for commit, nimg in (("b", 4), ("c", 4), ("d", 8)):
        with (trained.run_dir / "metrics.jsonl").open("a") as journal:
            journal.write(json.dumps({**record, "commit": commit, "nimg": nimg}) + "\n")
    assert [one["commit"] for one in open_origin(str(trained.run_dir)).starts] == ["a" * 40, "c"]


def test_another_start_and_unknown_images_are_not_equal(trained: Config, own_home: Path) -> None:
    origin = open_origin(str(trained.run_dir))
    begun = dataclasses.replace(trained, init_from=str(own_home / "other"))
    scratch = {key: value for key, value in origin.starts[-1].items() if key != "initialised_from"}
    weights = {**scratch, "initialised_from": {"sha256": {"x": "a" * 64}}}
    one = dataclasses.replace(origin, config=begun, starts=[weights])
    assert compare(one, dataclasses.replace(origin, starts=[scratch])).outcome == "different"
    assert compare(one, one).outcome == "equal"
    card = {key: value for key, value in origin.snapshot.card.items() if key != "data"}
    unknown = dataclasses.replace(
        origin, starts=[{**scratch, "data": []}], snapshot=dataclasses.replace(origin.snapshot, card=card)
    )
    found = compare(origin, unknown)
    assert found.outcome == "different" and "images: of unknown digests" in found.lines


def test_the_command_and_its_file_are_prepared_and_nothing_is_if_it_is_impossible(
    trained: Config, own_home: Path, command: Command
) -> None:
    code, out, err = command(reproduce.main, trained.run_dir)
    assert code == 0 and "tiny, 8 images: can be reproduced bit for bit" in out, err
    assert "train reproduce-tiny/config.yaml --launcher local" in out
    config = load_config("reproduce-tiny/config.yaml")
    assert (config.name, config.stop_after, config.tracking.mlflow) == ("tiny-reproduced", 8, False)
    assert config.world.threads == 1 and config.data.path == trained.data.path
    assert "torch==" in Path("reproduce-tiny/packages.txt").read_text()
    assert json.loads(Path("reproduce-tiny/report.json").read_text())["verdict"] == "can be reproduced bit for bit"
    elsewhere = dataclasses.replace(trained, data=dataclasses.replace(trained.data, path="/nowhere"))
    (trained.run_dir / "config.yaml").write_text(dump_config(elsewhere))
    code, out, _ = command(reproduce.main, trained.run_dir, "--out", "nothing")
    assert code == 1 and "cannot be reproduced here: images" in out and not Path("nothing").exists()
    code, out, _ = command(reproduce.main, trained.run_dir, "--data", trained.data.path, "--out", "it")
    assert code == 0 and load_config("it/config.yaml").data.path == trained.data.path


def test_sources_that_do_not_say_enough_are_refused(trained: Config, own_home: Path, command: Command) -> None:
    (snapshot,) = (trained.run_dir / "snapshots").iterdir()
    shutil.copytree(snapshot, own_home / "alone")
    code, _, err = command(reproduce.main, own_home / "alone")
    assert code == 2 and "is not in the folder of a run" in err and err.count("\n") == 1
    code, _, err = command(reproduce.main, trained.run_dir, "--compare", trained.run_dir, "--run")
    assert code == 2 and "leave out --run" in err
    code, _, err = command(reproduce.main, trained.run_dir, "--compare", snapshot)
    assert code == 2 and "itself: give the run that was trained again" in err
    shutil.copytree(trained.run_dir, own_home / "runs" / "tiny-reproduced")
    code, _, err = command(reproduce.main, trained.run_dir, "--run")
    assert code == 2 and "tiny-reproduced was trained before: compare it with --compare" in err
    code, _, err = command(reproduce.main, trained.run_dir, "--tolerance", "2")
    assert code == 2 and "--tolerance 2: give a number from 0 on, below 1" in err
    card = json.loads((snapshot / "card.json").read_text())
    shutil.copytree(trained.run_dir, own_home / "runs" / "longer")
    shutil.rmtree(own_home / "runs" / "longer" / "snapshots" / snapshot.name)
    shutil.copytree(snapshot, own_home / "runs" / "longer" / "snapshots" / "nimg-000000016")
    written = own_home / "runs" / "longer" / "snapshots" / "nimg-000000016" / "card.json"
    written.write_text(json.dumps({**card, "nimg": 16}))
    code, _, err = command(reproduce.main, trained.run_dir, "--compare", own_home / "runs" / "longer")
    assert code == 2 and "has seen 16 images, and" in err
    (snapshot / "card.json").write_text(json.dumps({**card, "segments": [{"nimg": 4, "changed": {}}]}))
    code, _, err = command(reproduce.main, trained.run_dir)
    assert code == 2 and "was extended with another schedule" in err and err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning", "ignore::ResourceWarning")  # MLflow's
def test_a_registered_model_carries_what_it_was_made_from(trained: Config, dataset: Path, own_home: Path) -> None:
    from cyclegan_dist.promotion.promote import find_candidate

    with promoting(trained, dataset, own_home) as setting:
        setting.promote(find_candidate(str(trained.run_dir)))
        origin, local = open_origin("models:/horses@champion"), open_origin(str(trained.run_dir))
        assert (origin.run, origin.config, origin.data()) == (None, local.config, local.data())
        assert [dict(one) for one in origin.starts] == [dict(one) for one in local.starts]
        assert {one.state for one in conditions_of(origin)} == {"same"}
        found = compare(origin, local)
        assert found.outcome == "equal" and found.lines[2].startswith("losses: not compared")
