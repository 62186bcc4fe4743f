"""Which model is served while an alias of the registry moves."""

import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.orchestration import following
from cyclegan_dist.orchestration.following import FollowedModel, opened
from cyclegan_dist.service.messages import ServedModel
from tests.service.running import make_snapshot

ALIAS = "models:/zebra@champion"


class Registry:
    """An alias, and the snapshots of its versions; a version that is an error is raised."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.folder, self.version = folder, "1"
        self.broken = False
        self.looked = threading.Semaphore(0)
        # Without MLflow, which takes seconds to load.
        monkeypatch.setitem(
            sys.modules,
            "cyclegan_dist.registry.download",
            SimpleNamespace(exact_uri=self.exact_uri, alias_is_set=self.alias_is_set),
        )
        monkeypatch.setattr(following, "open_source", self.open_source)

    def exact_uri(self, uri: str) -> str:
        self.looked.release()
        if self.broken:
            raise ConnectionError("the registry does not answer")
        return f"models:/zebra/{self.version}"

    def open_source(self, source: str) -> Snapshot:
        return Snapshot.open(self.folder / (self.version if "@" in source else source.rpartition("/")[2]))


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    make_snapshot(tmp_path / "1")
    make_snapshot(tmp_path / "2")
    return Registry(tmp_path, monkeypatch)


def test_a_promotion_and_its_rollback_are_taken_over(registry: Registry) -> None:
    lines: list[str] = []
    model = FollowedModel(ALIAS, opened(ALIAS), lambda snapshot: None, lines.append)
    assert (model().name, model().snapshot.folder.name) == ("models:/zebra/1", "1")
    model.look()
    assert not lines
    for version in ("2", "1"):
        registry.version = version
        model.look()
        assert (model().name, model().snapshot.folder.name) == (f"models:/zebra/{version}", version)
    assert lines == [f"{ALIAS} is models:/zebra/2 now", f"{ALIAS} is models:/zebra/1 now"]


def test_what_cannot_be_loaded_leaves_the_model_and_is_said_once(registry: Registry) -> None:
    lines: list[str] = []
    model = FollowedModel(ALIAS, opened(ALIAS), lambda snapshot: None, lines.append)
    registry.version = "2"
    (registry.folder / "2" / "G_AB.safetensors").write_bytes(b"damaged")
    with model.following(0.01):
        for _ in range(5):
            assert registry.looked.acquire(timeout=10)
        registry.broken = True
        for _ in range(5):
            assert registry.looked.acquire(timeout=10)
    assert model().name == "models:/zebra/1"
    assert len(lines) == 2 and "is damaged" in lines[0]
    assert lines[1] == "ConnectionError: the registry does not answer; still serving models:/zebra/1"


def test_what_no_replica_can_load_is_not_served(registry: Registry) -> None:
    def load(snapshot: Snapshot) -> None:
        raise UsageError(f"no memory for {snapshot.folder.name}")

    model = FollowedModel(ALIAS, opened(ALIAS), load, print)
    registry.version = "2"
    with pytest.raises(UsageError, match="no memory for 2"):
        model.look()
    assert model().name == "models:/zebra/1"


@pytest.mark.parametrize(("source", "every_s"), [(ALIAS, 0), ("models:/zebra/1", 0.01), ("runs/zebra", 0.01)])
def test_only_an_alias_is_followed(source: str, every_s: float, registry: Registry) -> None:
    model = FollowedModel(source, ServedModel(name="it", snapshot=Snapshot.open(registry.folder / "1")), print, print)
    with model.following(every_s):
        assert not registry.looked.acquire(timeout=0.2)
