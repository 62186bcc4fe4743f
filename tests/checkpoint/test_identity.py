from functools import partial
from pathlib import Path

import torch

from cyclegan_dist.checkpoint import identity as module
from cyclegan_dist.checkpoint.identity import Identity
from cyclegan_dist.checkpoint.storage import LocalStorage
from cyclegan_dist.checkpoint.store import CheckpointStore
from cyclegan_dist.step.distributed import World
from cyclegan_dist.storage.layout import RunFolder

run_id = partial(module.run_id, seed=0, config="digest")
ALONE = World(0, 1, torch.device("cpu"))


def save(folder: Path, run: str, step: int = 1) -> LocalStorage:
    storage = LocalStorage(folder)
    store = CheckpointStore(storage, ALONE, keep=3, warn=print, identity=Identity(run, 0, "digest"))
    store.save(step, {"w": torch.zeros(1)}, {}, nimg=step)
    store.wait()
    return storage


def test_the_id_is_made_once_and_travels_with_the_folder(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "none")
    (tmp_path / "run").mkdir()
    made = run_id(tmp_path / "run", storage, "")
    assert made and run_id(tmp_path / "run", storage, "another") == made
    (tmp_path / "run").rename(tmp_path / "moved")
    assert run_id(tmp_path / "moved", storage, "") == made
    (tmp_path / "other").mkdir()
    assert run_id(tmp_path / "other", storage, "") != made


def test_a_damaged_id_is_restored_from_the_journal_or_the_newest_checkpoint(tmp_path: Path) -> None:
    storage, path = save(tmp_path / "c", "kept"), RunFolder(tmp_path).identity
    for recorded, expected in (("recorded", "recorded"), ("", "kept")):
        path.write_text("{")
        assert run_id(tmp_path, storage, recorded) == expected
        assert run_id(tmp_path, storage, "") == expected  # it is written anew


def test_a_new_folder_takes_over_checkpoints_of_its_seed_and_config_only(tmp_path: Path) -> None:
    """In shared storage a run of the same name may have been another user's."""
    storage = save(tmp_path / "c", "theirs")
    for name, changes in (("seed", {"seed": 1}), ("config", {"config": "another"}), ("same", {})):
        (tmp_path / name).mkdir()
        found = run_id(tmp_path / name, storage, None, **changes)
        assert (found == "theirs") == (name == "same")
        assert run_id(tmp_path / name, storage, None) == found
    (tmp_path / "old").mkdir()  # it has trained, with a version that recorded no identity
    assert run_id(tmp_path / "old", storage, "", config="another") == "theirs"


def test_differences_are_named_and_older_manifests_have_none() -> None:
    identity = Identity("ab", 1, "digest")
    assert identity.differs({}) == identity.differs({**identity.facts(), "config": "another"}) == ""
    assert identity.differs({"run": "ab", "seed": 2}) == "seed 2, not 1"
    assert identity.differs({"run": "cd", "seed": 2}) == "run cd, not ab and seed 2, not 1"


def test_a_checkpoint_of_another_run_is_passed_over(tmp_path: Path) -> None:
    storage = save(tmp_path, "own")
    save(tmp_path, "other", step=2)
    warnings: list[str] = []
    store = CheckpointStore(storage, ALONE, keep=3, warn=warnings.append, identity=Identity("own", 0, "digest"))
    restored = store.load_latest()
    assert restored is not None and restored.step == 1 and store.same_config(restored)
    assert len(warnings) == 1 and "is of another run (run other, not own)" in warnings[0] and not store.has(2)
    assert "renames it to foreign-step-000000002" in warnings[0]
    store.save(1, {"w": torch.zeros(1)}, {}, nimg=1)
    store.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign-step-000000002", "step-000000001"]
    other = CheckpointStore(storage, ALONE, keep=3, warn=warnings.append, identity=Identity("own", 0, "changed"))
    assert not other.same_config(restored)
