import dataclasses
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.operations.doctor.fleet import Node
from cyclegan_dist.operations.doctor.space import Need, Room, check_space, judge, need_of, room_at
from cyclegan_dist.step.config import OptimConfig
from tests.training.trainings import go

NODES = [Node(name="a", address="127.0.0.1")]
NEED = Need(checkpoint=100, files=4, count=5)


def test_a_checkpoint_takes_what_was_foretold(tiny_run: Callable[..., Config]) -> None:
    config = tiny_run(stop_after=8)  # enough to fill the history
    go(config)
    (folder,) = (config.run_dir / "checkpoints").glob("step-*")
    took = sum(path.stat().st_size for path in folder.iterdir())
    need = need_of(config, 1)
    assert need.checkpoint == pytest.approx(took, rel=0.25)  # of tiny tensors, names are a part
    assert need.checkpoint < took
    assert need.files == len(list(folder.iterdir())) + 1


def test_the_paper_s_checkpoint() -> None:
    """2 x 11,378,179 + 2 x 2,764,737 parameters, Adam's two moments, 2 x 50 images of 256 x 256 x 3."""
    need = need_of(Config(), 1)
    assert need.checkpoint == 4 * (3 * 28_285_832 + 100 * 256 * 256 * 3)
    assert need.count == 4
    assert need_of(Config(), 8).checkpoint - need.checkpoint == 7 * 4 * 100 * 256 * 256 * 3
    assert need_of(Config(keep_best=2), 1).count == 6
    averaged = need_of(Config(optim=OptimConfig(ema_decay=0.9)), 1)
    assert averaged.checkpoint - need.checkpoint == 4 * 2 * 11_378_179
    assert need_of(Config(optim=OptimConfig(precision="fp64")), 1).checkpoint == 2 * need.checkpoint


@pytest.mark.parametrize(
    ("room", "there", "level"),
    [
        (Room(bytes=1000, inodes=40), 0, "green"),
        (Room(bytes=999, inodes=40), 0, "yellow"),
        (Room(bytes=500, inodes=40), 0, "yellow"),
        (Room(bytes=499, inodes=40), 0, "red"),
        (Room(bytes=399, inodes=40), 100, "red"),
        (Room(bytes=400, inodes=40), 100, "yellow"),  # its own checkpoints make way
        (Room(bytes=1000, inodes=39), 0, "yellow"),
        (Room(bytes=1000, inodes=19), 0, "red"),
        (Room(bytes=1000, inodes=None), 0, "green"),
    ],
)
def test_room_is_judged(room: Room, there: int, level: str) -> None:
    found = judge("/p", NEED, room, there)
    assert found.level == level
    assert bool(found.advice) == (level != "green")


def test_room_is_that_of_the_next_folder_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    facts = SimpleNamespace(f_bavail=3, f_frsize=4096, f_favail=7, f_files=9)
    monkeypatch.setattr(os, "statvfs", lambda path: asked.append(path) or facts)
    assert room_at(tmp_path / "a" / "b") == Room(bytes=12288, inodes=7)
    assert asked == [tmp_path]
    facts.f_files = 0  # btrfs
    assert room_at(tmp_path).inodes is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("file systems can be mounted by root alone")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_disk_that_is_too_small_is_red(small_disk: Path) -> None:
    (found,) = check_space(NODES, Config(runs_dir=str(small_disk), name="r"))
    assert found.level == "red" and "1.05 MB" in found.found and f"{small_disk}/r/checkpoints" in found.found
    (found,) = check_space(NODES, Config(runs_dir=str(small_disk.parent), name="r"))
    assert found.level == "green"


def test_checkpoints_of_a_run_that_goes_on_are_counted(tiny_run: Callable[..., Config]) -> None:
    config = tiny_run()
    before = check_space(NODES, config)[0].figures["free"]
    file = config.run_dir / "checkpoints" / "step-000000001" / "shared.pt"
    file.parent.mkdir(parents=True)
    with file.open("wb") as sparse:
        sparse.truncate(10**12)
    assert check_space(NODES, config)[0].figures["free"] - before == pytest.approx(10**12, rel=0.01)


def test_an_object_store_does_not_say(tmp_path: Path) -> None:
    (found,) = check_space(NODES, dataclasses.replace(Config(), checkpoints="s3://b/k"))
    assert found.level == "green" and "is not known" in found.found
