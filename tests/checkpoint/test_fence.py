import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cyclegan_dist.checkpoint.fence import Fence, SupersededError
from cyclegan_dist.checkpoint.storage import LocalStorage
from cyclegan_dist.checkpoint.store import CheckpointStore
from cyclegan_dist.config.config import Config
from cyclegan_dist.training.stop import StopRequest
from cyclegan_dist.training.trainer import build, loop
from tests.training.trainings import ALONE, go, records


def store(path: Path, attempt: str, warnings: list[str]) -> CheckpointStore:
    fence = Fence(path, attempt)
    fence.claim()
    return CheckpointStore(LocalStorage(path / "c"), ALONE, keep=3, warn=warnings.append, fence=fence)


def save(store: CheckpointStore, step: int, value: float) -> None:
    store.save(step, {"w": torch.full((2,), value)}, {}, nimg=step)
    store.wait()


def test_the_latest_attempt_holds_the_claim(tmp_path: Path) -> None:
    one, two = Fence(tmp_path, "one"), Fence(tmp_path, "two")
    one.claim()
    assert not one.lost()
    two.claim()
    assert one.lost() and not two.lost()


def test_a_claim_that_cannot_be_read_is_not_lost(tmp_path: Path) -> None:
    assert not Fence(tmp_path, "one").lost()


def test_a_superseded_attempt_cannot_commit_a_checkpoint(tmp_path: Path) -> None:
    warnings: list[str] = []
    old = store(tmp_path, "old", warnings)
    save(old, 10, 1.0)
    new = store(tmp_path, "new", warnings)
    save(new, 20, 2.0)
    save(old, 20, 3.0)
    save(old, 30, 3.0)
    assert new.storage.steps() == [10, 20]
    restored = new.load_latest()
    assert restored is not None and restored.shared["w"].tolist() == [2.0, 2.0]
    assert len(warnings) == 2 and all("another attempt has taken over the run" in text for text in warnings)
    assert not [path for path in (tmp_path / "c").iterdir() if path.name.startswith(".")]


class Intruder(StopRequest):
    """Another attempt takes over after some steps."""

    def __init__(self, config: Config, step: int):
        super().__init__(config.run_dir, ALONE, interval_s=0.0)
        self._fence, self._at = Fence(config.run_dir, "other"), step

    def agreed(self, step: int, fence: Fence | None = None) -> bool:
        if step == self._at:
            self._fence.claim()
        return super().agreed(step, fence)


def test_a_superseded_training_stops_and_writes_nothing_more(
    tiny_run: Callable[..., Config],
) -> None:
    from cyclegan_dist.training.trainer import train

    config = tiny_run()
    with pytest.raises(SupersededError):
        train(config, ALONE, Intruder(config, step=6))
    kinds: list[Any] = [record["kind"] for record in records(config)]
    assert "end" not in kinds
    assert [path.name for path in (config.run_dir / "checkpoints").iterdir()] == ["step-000000004"]
    assert go(config) == "FINISHED"  # the same command takes over again


def test_every_checkpoint_names_the_attempt_that_wrote_it(tiny_run: Callable[..., Config]) -> None:
    config = tiny_run(stop_after=16)
    parts = build(config, ALONE, None)
    loop(parts, StopRequest(config.run_dir, ALONE))
    manifests = [json.loads(path.read_text()) for path in config.run_dir.glob("checkpoints/*/manifest.json")]
    assert {manifest["checkpoint"]["attempt"] for manifest in manifests} == {parts.fence.attempt}
