import errno
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch

from cyclegan_dist.checkpoint.manifest import dump_manifest
from cyclegan_dist.checkpoint.storage import LocalStorage, storage_at
from cyclegan_dist.checkpoint.store import CheckpointStore, SaveTimeoutError
from cyclegan_dist.errors import UsageError
from cyclegan_dist.step.distributed import World
from tests.ranks import run_ranks

ALONE = World(0, 1, torch.device("cpu"))


class Store(CheckpointStore):
    """A store that remembers its warnings."""

    def __init__(self, folder: Path | str, world: World = ALONE, keep: int = 3, keep_best: int = 0):
        self.warnings: list[str] = []
        super().__init__(storage_at(str(folder)), world, keep=keep, keep_best=keep_best, warn=self.warnings.append)

    def put(self, step: int, score: float | None = None) -> Path | None:
        """Save and wait; the folder if it is there then."""
        shared, rank = {"w": torch.full((100,), float(step))}, {"r": torch.tensor(self.world.rank)}
        self.save(step, shared, rank, nimg=step, score=score)
        self.wait()
        folder = self.storage.path / f"step-{step:09d}" if isinstance(self.storage, LocalStorage) else None
        return folder if self.has(step) else None


def test_saved_state_is_restored(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.load_latest() is None
    store.put(5)
    store.put(12)
    restored = Store(tmp_path).load_latest()
    assert restored is not None
    assert (restored.step, restored.world_size) == (12, 1)
    assert torch.equal(restored.shared["w"], torch.full((100,), 12.0))


def test_checkpoints_that_cannot_be_listed_are_an_error_and_not_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(tmp_path).put(5)
    store = Store(tmp_path)

    def deny(path: object) -> list[str]:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", deny)
        with pytest.raises(UsageError, match=r"cannot be read, to resume from: .*Permission denied"):
            store.load_latest()
        assert "once" in store.latest() and not store.has(5)
    assert store.has(5) and LocalStorage(tmp_path / "none").steps() == []


def test_old_checkpoints_and_drafts_are_deleted(tmp_path: Path) -> None:
    (tmp_path / ".step-000000001-dead").mkdir(parents=True)
    store = Store(tmp_path, keep=2)
    for step in (1, 2, 3, 10):
        store.put(step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000003", "step-000000010"]


@pytest.mark.parametrize("name", ["shared.pt", "rank-00000.pt", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_a_damaged_checkpoint_is_named_and_skipped(tmp_path: Path, name: str, damage: str) -> None:
    store = Store(tmp_path)
    store.put(1)
    folder = store.put(2)
    assert folder is not None
    data = bytearray((folder / name).read_bytes())
    if damage == "gone":
        (folder / name).unlink()
    elif damage == "cut":
        (folder / name).write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 0x10
        (folder / name).write_bytes(data)
    fresh = Store(tmp_path)
    restored = fresh.load_latest()
    assert restored is not None and restored.step == 1
    assert "step-000000002" in fresh.warnings[0]


def test_without_a_valid_checkpoint_loading_is_an_error(tmp_path: Path) -> None:
    folder = Store(tmp_path).put(1)
    assert folder is not None
    (folder / "shared.pt").write_bytes(b"")
    with pytest.raises(UsageError, match="no valid checkpoint"):
        Store(tmp_path).load_latest()


def test_a_full_disk_loses_only_the_new_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.put(1)

    def full(*args: object, **kwargs: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc] file write failed")  # what torch.save says then

    monkeypatch.setattr(torch, "save", full)
    assert store.put(2) is None
    assert "the previous one is kept" in store.warnings[0]
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]
    restored = store.load_latest()
    assert restored is not None and restored.step == 1


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_file_systems_that_cannot_flush_keep_checkpoints_and_prune(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    store = Store(tmp_path)
    for step in range(1, 8):
        assert store.put(step) is not None
    assert store.warnings == []
    assert len(list(tmp_path.iterdir())) == store.keep


def test_no_pickle_is_executed(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/executed",)

    folder = Store(tmp_path / "c").put(1)
    assert folder is not None
    torch.save({"w": Payload()}, folder / "shared.pt")
    manifest, data = json.loads((folder / "manifest.json").read_text()), (folder / "shared.pt").read_bytes()
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    manifest["checkpoint"]["files"]["shared.pt"] = entry  # even with a fitting hash
    (folder / "manifest.json").write_bytes(dump_manifest(manifest["checkpoint"]))
    with pytest.raises(UsageError, match="no valid checkpoint"):
        Store(tmp_path / "c").load_latest()
    assert not (tmp_path / "executed").exists()


def test_every_rank_saves_and_restores_its_state(tmp_path: Path) -> None:
    def work(world: World) -> tuple[int, list[int]]:
        store = Store(tmp_path, world)
        store.put(3)
        restored = store.load_latest()
        assert restored is not None
        return restored.step, [int(part["r"]) for part in restored.ranks.values()]

    assert run_ranks(work, 2) == [(3, [0]), (3, [1])]
    other = Store(tmp_path).load_latest()  # another world size gets all parts
    assert other is not None
    assert [int(part["r"]) for part in other.ranks.values()] == [0, 1]


def test_a_failure_on_one_rank_fails_the_save_on_all(tmp_path: Path) -> None:
    def work(world: World) -> tuple[object, object]:
        store = Store(tmp_path, world)
        first = store.put(1) is not None
        if world.rank == 1:
            torch.save = lambda *args, **kwargs: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        return first, store.put(2)

    assert run_ranks(work, 2) == [(True, None), (True, None)]
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]


def test_all_ranks_fall_back_when_the_file_of_one_is_damaged(tmp_path: Path) -> None:
    def save(world: World) -> None:
        store = Store(tmp_path, world)
        store.put(1), store.put(2)

    def load(world: World) -> int:
        restored = Store(tmp_path, world).load_latest()
        assert restored is not None
        return restored.step

    run_ranks(save, 2)
    (tmp_path / "step-000000002" / "rank-00001.pt").write_bytes(b"rot")
    assert run_ranks(load, 2) == [1, 1]


def test_the_best_checkpoints_are_kept_too(tmp_path: Path) -> None:
    store = Store(tmp_path, keep=1, keep_best=2)
    for step, score in enumerate((5.0, 1.0, 4.0, 2.0, 3.0, 6.0)):
        store.put(step, score)
    assert store.storage.steps() == [1, 3, 5]


def test_saving_copies_the_state_and_writes_in_the_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later changes by training do not reach the checkpoint."""
    go_on, save = threading.Event(), torch.save

    def slow(*args: Any) -> None:
        assert go_on.wait(20)
        save(*args)

    monkeypatch.setattr(torch, "save", slow)
    store, weights = Store(tmp_path), torch.zeros(10)
    store.save(1, {"w": weights}, {}, nimg=1)
    weights += 1
    store.wait(block=False)
    assert store.storage.steps() == []
    go_on.set()
    store.wait()
    restored = store.load_latest()
    assert restored is not None and restored.shared["w"].sum() == 0


def test_a_save_that_hangs_can_be_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, release = Store(tmp_path), threading.Event()
    monkeypatch.setattr(torch, "save", lambda *args: release.wait(20))

    def limit(idle_s: float) -> None:
        if idle_s > 0.3:
            raise SaveTimeoutError("hangs")

    store.waiting = limit
    store.save(1, {}, {}, nimg=1)
    with pytest.raises(SaveTimeoutError):
        store.wait()
    store.wait()  # it was given up
    release.set()


@pytest.mark.parametrize("objects", [False, True])
def test_a_damaged_checkpoint_is_set_aside_by_the_next_save(tmp_path: Path, objects: bool) -> None:
    place = f"file://{tmp_path}" if objects else tmp_path
    store = Store(place)
    for step in (1, 2, 3):
        store.put(step)
    (path,) = (tmp_path / "step-000000003").rglob("shared.pt")
    path.write_bytes(b"rot")
    resumed = Store(place, keep=1)
    restored = resumed.load_latest()
    assert restored is not None and restored.step == 2
    assert resumed.storage.steps() == [1, 2, 3] and not resumed.has(3)  # nothing is moved before a save
    assert len(resumed.warnings) == 1 and "renames it to damaged-step-000000003" in resumed.warnings[0]
    resumed.put(2)
    assert resumed.storage.steps() == [2]
    assert list((tmp_path / "damaged-step-000000003").rglob("manifest.json"))


@pytest.fixture
def bucket() -> Iterator[str]:
    yield "memory://bucket/run"
    fsspec.filesystem("memory").store.clear()


def test_an_object_store_lists_complete_checkpoints_only(bucket: str) -> None:
    files = fsspec.filesystem("memory")
    store = Store(bucket, keep=2)
    assert store.load_latest() is None
    for step in (1, 2, 3):
        store.put(step)
    files.pipe_file("/bucket/run/step-000000004/dead/shared.pt", b"of an attempt that died")
    restored = Store(bucket).load_latest()
    assert restored is not None and restored.step == 3
    assert torch.equal(restored.shared["w"], torch.full((100,), 3.0))
    store.put(3)  # once more, by the same attempt
    assert store.storage.steps() == [2, 3]
    assert not files.exists("/bucket/run/step-000000004/dead/shared.pt")
    (part,) = files.glob("/bucket/run/step-000000003/*/shared.pt")
    files.pipe_file(part, files.cat_file(part)[:-1])
    fresh = Store(bucket)
    restored = fresh.load_latest()
    assert restored is not None and restored.step == 2
    assert "shared.pt is corrupt" in fresh.warnings[0]


def test_ranks_share_an_object_store(tmp_path: Path) -> None:
    def work(world: World) -> tuple[int, int]:
        store = Store(f"file://{tmp_path}/bucket", world)
        store.put(1), store.put(2)
        restored = Store(f"file://{tmp_path}/bucket", world).load_latest()
        assert restored is not None
        return restored.step, int(restored.ranks[world.rank]["r"])

    assert run_ranks(work, 2) == [(2, 0), (2, 1)]


def test_storage_that_ranks_do_not_share_is_reported(tmp_path: Path) -> None:
    def work(world: World) -> list[str]:
        store = Store(tmp_path / str(world.rank), world)
        assert store.put(1) is None
        return store.warnings

    assert "not storage that all ranks share" in run_ranks(work, 2)[0][0]


def test_an_error_of_pruning_leaves_what_was_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store("memory://pruning", keep=1)
    store.put(1)
    files = store.storage._files  # type: ignore[attr-defined]
    remove = files.rm

    def rm(path: str, **options: bool) -> None:
        if "step-000000001" in path:
            raise OSError("503 slow down")
        remove(path, **options)

    monkeypatch.setattr(files, "rm", rm)
    store.put(2)
    assert len(store.warnings) == 1 and "were not removed: 503 slow down" in store.warnings[0]
    restored = Store("memory://pruning").load_latest()
    assert restored is not None and restored.step == 2
