import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.models.snapshot import Snapshot
from pipelines import distill, export
from tests.conftest import Answer
from tests.methods.teachers import write_teacher

Command = Callable[..., Answer]


@pytest.fixture
def teacher(tmp_path: Path, own_home: Path, dataset: Path) -> Snapshot:
    prepared = {"preprocess": "resize_and_crop", "load_size": 20, "crop_size": 16, "direction": "BtoA"}
    return write_teacher(tmp_path / "teacher", ("AB",), preprocess=prepared, data=[{"source": str(dataset)}])


def test_what_the_card_says_is_filled_in_and_options_win(command: Command, teacher: Snapshot, dataset: Path) -> None:
    code, out, _ = command(distill.main, teacher.folder, "--dry_run", "--method.generator.ngf", 16)
    config = yaml.safe_load(out)
    assert code == 0 and config["name"] == "teacher-small" and config["method"]["generator"]["ngf"] == 16
    assert config["method"]["teacher"] == str(teacher.folder) and config["method"]["directions"] == ["AB"]
    wanted = {"path": str(dataset), "load_size": 20, "crop_size": 16, "direction": "BtoA"}
    assert {key: config["data"][key] for key in wanted} == wanted
    code, out, _ = command(distill.main, teacher.folder, "--data", "other", "--name", "mine", "--dry_run")
    config = yaml.safe_load(out)
    assert (config["name"], config["data"]["path"]) == ("mine", "other")


def test_the_images_of_its_data_set_are_the_teachers(command: Command, own_home: Path, dataset: Path) -> None:
    prepared = dataclasses.asdict(DataConfig(path=str(dataset), load_size=20, crop_size=16, max_samples=5))
    prepared["max_bad_fraction"] = 0.1
    teacher = write_teacher(own_home / "teacher", preprocess=prepared, data=[{"source": str(dataset)}]).folder
    for options, wanted in (
        ((), (5, 0.1)),
        (("--data.max_samples", 3), (3, 0.1)),
        (("--data", "other"), (0, 0.0)),
        (("--data.path", "other"), (0, 0.0)),
    ):
        code, out, err = command(distill.main, teacher, *options, "--dry_run")
        assert code == 0, err
        data = yaml.safe_load(out)["data"]
        assert (data["max_samples"], data["max_bad_fraction"]) == wanted and data["load_size"] == 20


def test_it_trains(command: Command, teacher: Snapshot, own_home: Path) -> None:
    small = ["--method.generator.ngf", 4, "--method.generator.n_blocks", 1, "--every.samples", 0]
    options = [*small, "--stop_after", 8, "--tracking.mlflow", "False", "--data.workers", 0, "--launcher", "local"]
    code, out, err = command(distill.main, teacher.folder, *options)
    assert code == 0, err
    assert "teacher 0.418 G, student 0.143 G multiply-adds for 256 x 256 pixels: 34%" in out
    assert Snapshot.open(own_home / "runs" / "teacher-small").card["teacher"]["sha256"] == teacher.digest()


def test_errors_are_one_line(command: Command, teacher: Snapshot, own_home: Path) -> None:
    for arguments, message in (
        ((own_home / "nothing",), "is neither a snapshot nor a run"),
        ((teacher.folder, "--preset", "demo"), "--method.teacher"),
        ((teacher.folder, "--methd.features", "x"), "unknown option --methd.features"),
        ((write_teacher(own_home / "bare").folder,), "names no data set: give --data"),
    ):
        code, _, err = command(distill.main, *arguments)
        assert code == 2 and message in err and err.count("\n") == 1
    code, _, err = command(export.main, teacher.folder, own_home / "out", "--int8")
    assert code == 2 and "--int8 needs --calibration DATA" in err and not (own_home / "out").exists()
    code, _, err = command(export.main, teacher.folder, own_home / "out", "--int8", "--calibration", own_home / "x")
    assert code == 2 and "no data set at" in err and not (own_home / "out").exists()


def test_a_large_student_is_said_to_be_one(teacher: Snapshot) -> None:
    from cyclegan_dist.config.config import load_config, with_values

    config = with_values(load_config("distill"), {"method.generator.ngf": 64}, "test")
    assert "more than the 3 G that a promotion allows" in distill.costs(teacher, config)
