import json
import os
from pathlib import Path

import pytest
import torch

from cyclegan_dist.checkpoint import CheckpointStore
from cyclegan_dist.dist import World
from cyclegan_dist.errors import UsageError
from tests.ranks import run_ranks

ALONE = World(0, 1, torch.device("cpu"))


class Store(CheckpointStore):
    """A store that remembers its warnings."""

    def __init__(self, folder: Path, world: World = ALONE, keep: int = 3):
        self.warnings: list[str] = []
        super().__init__(folder, world, keep=keep, warn=self.warnings.append)

    def put(self, step: int) -> Path | None:
        return self.save(
            step, {"w": torch.full((100,), float(step))}, {"r": torch.tensor(self.world.rank)}, {"nimg": step}
        )


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.load_latest() is None
    store.put(5)
    store.put(12)
    restored = Store(tmp_path).load_latest()
    assert restored is not None
    assert (restored.step, restored.world_size) == (12, 1)
    assert torch.equal(restored.shared["w"], torch.full((100,), 12.0))


def test_only_the_newest_are_kept_and_nothing_unfinished(tmp_path: Path) -> None:
    (tmp_path / ".step-000000001-dead").mkdir(parents=True)
    store = Store(tmp_path, keep=2)
    for step in (1, 2, 3, 10):
        store.put(step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000003", "step-000000010"]


@pytest.mark.parametrize("name", ["shared.pt", "rank-00000.pt", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_a_damaged_checkpoint_is_passed_over_by_name(tmp_path: Path, name: str, damage: str) -> None:
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
    if restored is not None and restored.step == 2:  # a flip in the manifest that no loaded value depends on
        assert (name, damage) == ("manifest.json", "flip")
    else:
        assert restored is not None and restored.step == 1
        assert "step-000000002" in fresh.warnings[0]


def test_no_valid_checkpoint_at_all_is_an_error_not_a_fresh_start(tmp_path: Path) -> None:
    folder = Store(tmp_path).put(1)
    assert folder is not None
    (folder / "shared.pt").write_bytes(b"")
    with pytest.raises(UsageError, match="no valid checkpoint"):
        Store(tmp_path).load_latest()


def test_a_full_disk_costs_the_new_checkpoint_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.put(1)

    def full(*args: object, **kwargs: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc] file write failed")  # what torch.save says then

    monkeypatch.setattr(torch, "save", full)
    assert store.put(2) is None
    assert "the previous one stays" in store.warnings[0]
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]
    restored = store.load_latest()
    assert restored is not None and restored.step == 1


def test_no_pickle_is_executed(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/executed",)

    folder = Store(tmp_path / "c").put(1)
    assert folder is not None
    torch.save({"w": Payload()}, folder / "shared.pt")
    manifest = json.loads((folder / "manifest.json").read_text())
    from cyclegan_dist.checkpoint import _entry

    manifest["files"]["shared.pt"] = _entry(folder / "shared.pt")  # even with a fitting hash
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="no valid checkpoint"):
        Store(tmp_path / "c").load_latest()
    assert not (tmp_path / "executed").exists()


def test_every_rank_writes_its_part_and_reads_it_back(tmp_path: Path) -> None:
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


def test_a_failure_on_one_rank_is_everyones(tmp_path: Path) -> None:
    def work(world: World) -> tuple[object, object]:
        store = Store(tmp_path, world)
        first = store.put(1) is not None
        if world.rank == 1:
            torch.save = lambda *args, **kwargs: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        return first, store.put(2)

    assert run_ranks(work, 2) == [(True, None), (True, None)]
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]


def test_all_ranks_go_back_together_when_one_ranks_part_is_damaged(tmp_path: Path) -> None:
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
