import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cyclegan_dist.operations.doctor import storage
from cyclegan_dist.operations.doctor.storage import check_data, check_shared
from tests.operations.doctor.fleets import ForkedFleet, findings, levels


@pytest.fixture(autouse=True)
def _no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "DELAY_S", 0.0)


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_folder_that_all_see_is_green_and_left_as_it_was(prefix: str, tmp_path: Path) -> None:
    (found,) = findings(check_shared, ForkedFleet("a", "b"), f"{prefix}{tmp_path}/runs", "runs_dir")
    assert found.level == "green" and f"2 nodes write and read each other's files in {tmp_path}/runs" in found.found
    assert list(tmp_path.iterdir()) == []


def test_what_others_have_in_the_folder_stays(tmp_path: Path) -> None:
    """Another training may begin in a folder that did not exist."""
    made = tmp_path / "runs"
    fleet = ForkedFleet("a", prepare={"a": lambda: (made / "other").mkdir(exist_ok=True)})
    assert levels(check_shared, fleet, str(made), "runs_dir") == ["green"]
    assert [path.name for path in made.iterdir()] == ["other"]


def test_a_node_that_mounts_something_else_is_found(tmp_path: Path) -> None:
    shared, own = tmp_path / "shared", tmp_path / "own"
    own.mkdir()
    fleet = ForkedFleet("a", "b", views={"b": {str(shared): str(own)}})
    found = findings(check_shared, fleet, str(shared), "runs_dir")
    assert [(f.level, f.found) for f in found] == [
        ("red", f"this machine does not see in {shared} what b wrote"),
        ("red", f"a does not see in {shared} what b wrote"),
        ("red", f"b does not see in {shared} what this machine, a wrote"),
    ]
    assert list(own.iterdir()) == []


def test_an_empty_file_counts_as_missing(tmp_path: Path) -> None:
    storage.write(str(tmp_path), "whole")
    (tmp_path / "empty").touch()
    assert storage.missing(str(tmp_path), ["whole", "empty", "none"]) == ["empty", "none"]


def test_a_file_may_appear_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "DELAY_S", 60.0)
    thread = threading.Timer(0.3, storage.write, (str(tmp_path), "late"))
    thread.start()
    began = time.monotonic()
    assert storage.missing(str(tmp_path), ["late"]) == []
    assert time.monotonic() - began < 30
    thread.join()


def test_a_node_without_the_folder_is_red(tmp_path: Path) -> None:
    fleet = ForkedFleet("a", "b", views={"b": {str(tmp_path): str(tmp_path / "not" / "mounted")}})
    (found,) = findings(check_shared, fleet, str(tmp_path), "runs_dir")
    assert found.level == "red" and found.found.startswith("b: FileNotFoundError")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_red(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (found,) = findings(check_shared, ForkedFleet("a"), str(tmp_path / "file" / "runs"), "runs_dir")
    assert found.level == "red" and found.found.startswith("this machine: ") and "runs_dir" in found.advice


def test_object_stores_are_checked_too() -> None:
    """fsspec's memory store is each process's own."""
    found = findings(check_shared, ForkedFleet("a"), "memory://bucket/runs", "checkpoints")
    assert "this machine does not see in memory://bucket/runs what a wrote" in [f.found for f in found]
    found = findings(check_shared, ForkedFleet("a"), "nothing://bucket", "checkpoints")
    assert {f.level for f in found} == {"red"} and "nothing" in found[0].found


def test_one_data_set_is_green(dataset: Path) -> None:
    (found,) = findings(check_data, ForkedFleet("a", "b"), str(dataset))
    assert found.level == "green" and "5 shards" in found.found and "the same on 2 nodes" in found.found


def test_another_data_set_on_a_node_is_red(dataset: Path, tmp_path: Path, folders: tuple[Path, Path]) -> None:
    from cyclegan_dist.data.prepare import prepare
    from cyclegan_dist.data.prepare_config import PrepareConfig

    prepare(PrepareConfig(*folders, tmp_path / "other", samples_per_shard=3, workers=1))
    fleet = ForkedFleet("a", "b", views={"b": {str(dataset): str(tmp_path / "other")}})
    (found,) = findings(check_data, fleet, str(dataset))
    assert found.level == "red" and found.found.startswith("not the same on all nodes: ")


@pytest.mark.parametrize("damage", [Path.unlink, lambda shard: shard.write_bytes(shard.read_bytes()[:-1])])
def test_missing_and_truncated_shards_are_named(damage: Callable[[Path], None], dataset: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(dataset, tmp_path / "copy"))
    damage(copy / "B" / "B-000001.tar")
    (found,) = findings(check_data, ForkedFleet("a", "b", views={"b": {str(dataset): str(copy)}}), str(dataset))
    assert (found.level, found.found) == ("red", "b: missing or of another size: B/B-000001.tar")


@pytest.mark.parametrize(("path", "level"), [("", "red"), ("synthetic", "green"), ("/not/there", "red")])
def test_other_data_paths(path: str, level: str) -> None:
    assert levels(check_data, ForkedFleet("a"), path) == [level]
