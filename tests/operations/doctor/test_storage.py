import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.operations.doctor import storage
from cyclegan_dist.operations.doctor.storage import check_checkpoints, check_data, check_place, check_runs
from tests.operations.doctor.fleets import Forked, levels


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "DELAY_S", 0.0)


def test_a_folder_that_all_see_is_green_and_left_as_it_was(tmp_path: Path) -> None:
    (found,) = check_runs(Forked("a", "b"), Config(runs_dir=str(tmp_path / "new" / "runs")))
    assert found.level == "green" and "2 nodes write and read each other's files" in found.found
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_already_stays(tmp_path: Path) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    check_runs(Forked("a"), Config(runs_dir=str(tmp_path / "runs")))
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["mine"]


def test_a_node_with_a_folder_of_its_own_is_found_out(tmp_path: Path) -> None:
    shared, own = tmp_path / "shared", tmp_path / "own"
    own.mkdir()
    found = check_runs(Forked("a", "b", views={"b": {str(shared): str(own)}}), Config(runs_dir=str(shared)))
    assert levels(found) == ["red"] * 3
    assert [f.found for f in found] == [
        f"a does not see in {shared} what b wrote",
        f"b does not see in {shared} what a, this machine wrote",
        f"this machine does not see in {shared} what b wrote",
    ]
    assert list(own.iterdir()) == []


def test_a_file_that_is_there_but_empty_counts_as_missing(tmp_path: Path) -> None:
    storage.write(str(tmp_path), "whole")
    (tmp_path / "empty").touch()
    assert storage.missing(str(tmp_path), ["whole", "empty", "none"]) == ["empty", "none"]


def test_a_node_without_the_folder_is_red(tmp_path: Path) -> None:
    views = {"b": {str(tmp_path): str(tmp_path / "not" / "mounted")}}
    (found,) = check_runs(Forked("a", "b", views=views), Config(runs_dir=str(tmp_path)))
    assert found.level == "red" and found.found.startswith("b: FileNotFoundError")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_here_is_red(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (found,) = check_runs(Forked("a"), Config(runs_dir=str(tmp_path / "file" / "runs")))
    assert found.level == "red" and found.found.startswith("this machine: ")
    assert "runs_dir" in found.advice


def test_an_object_store_of_each_node_is_found_out() -> None:
    """fsspec's memory store is each process's own."""
    found = check_checkpoints(Forked("a"), Config(checkpoints="memory://bucket/runs"))
    assert "red" in levels(found) and "a does not see" in found[0].found


def test_a_store_that_is_not_known_is_red() -> None:
    (found,) = check_checkpoints(Forked("a"), Config(checkpoints="nothing://bucket"))
    assert found.level == "red" and "nothing" in found.found


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_checkpoints_elsewhere_are_looked_at(prefix: str, tmp_path: Path) -> None:
    (found,) = check_checkpoints(Forked("a"), Config(checkpoints=f"{prefix}{tmp_path}/elsewhere"))
    assert found.level == "green" and f"{tmp_path}/elsewhere" in found.found
    assert list(tmp_path.iterdir()) == []


def test_what_another_process_left_there_is_not_taken_away(tmp_path: Path) -> None:
    made = tmp_path / "runs"

    def begins() -> None:
        (made / "other").mkdir(exist_ok=True)

    (found,) = check_place(Forked("a", prepare={"a": begins}), "c", str(made), "runs_dir")
    assert found.level == "green"
    assert [path.name for path in made.iterdir()] == ["other"]


def data(path: object) -> Config:
    return Config(data=DataConfig(path=str(path)))


def test_one_data_set_is_green(dataset: Path) -> None:
    (found,) = check_data(Forked("a", "b"), data(dataset))
    assert found.level == "green" and "5 shards" in found.found and "the same on 2 nodes" in found.found


def test_another_data_set_on_a_node_is_red(dataset: Path, tmp_path: Path, folders: tuple[Path, Path]) -> None:
    from cyclegan_dist.data.prepare import prepare
    from cyclegan_dist.data.prepare_config import PrepareConfig

    prepare(PrepareConfig(*folders, tmp_path / "other", samples_per_shard=3, workers=1))
    (found,) = check_data(Forked("a", "b", views={"b": {str(dataset): str(tmp_path / "other")}}), data(dataset))
    assert found.level == "red" and found.found.startswith("not the same on all nodes: ")


@pytest.mark.parametrize("damage", [Path.unlink, lambda shard: shard.write_bytes(shard.read_bytes()[:-1])])
def test_missing_and_cut_shards_are_named(damage: Callable[[Path], None], dataset: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(dataset, tmp_path / "copy"))
    damage(copy / "B" / "B-000001.tar")
    (found,) = check_data(Forked("a", "b", views={"b": {str(dataset): str(copy)}}), data(dataset))
    assert (found.level, found.found) == ("red", "b: missing or of another size: B/B-000001.tar")


@pytest.mark.parametrize(("path", "level"), [("", "red"), ("synthetic", "green"), ("/not/there", "red")])
def test_other_data_paths(path: str, level: str) -> None:
    assert levels(check_data(Forked("a"), data(path))) == [level]
