"""Which model is served while an alias of the registry moves."""

import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.orchestration import following
from cyclegan_dist.orchestration.following import FollowedModel, looking_soon, opened, opened_canary
from cyclegan_dist.service.messages import ServedModel
from tests.service.running import make_snapshot

ALIAS = "models:/zebra@champion"


class Registry:
    """An alias, and the snapshots of its versions; a version that is an error is raised."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.folder, self.version = folder, "1"
        self.broken, self.is_set = False, True
        self.looked = threading.Semaphore(0)
        # Without MLflow, which takes seconds to load.
        of_module = SimpleNamespace(exact_uri=self.exact_uri, alias_is_set=lambda _: self.is_set)
        monkeypatch.setitem(
            sys.modules,
            "cyclegan_dist.registry.download",
            of_module,
        )
        monkeypatch.setattr(following, "open_source", self.open_source)
        monkeypatch.setattr(following, "read_store", lambda: None)

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


def test_a_version_of_exchanged_domains_is_not_taken_over(registry: Registry) -> None:
    for version, names in (("3", "horse zebra"), ("4", "zebra horse")):
        make_snapshot(registry.folder / version, names=names)
    registry.version = "3"
    model = FollowedModel(ALIAS, opened(ALIAS), lambda snapshot: None, print)
    registry.version = "4"
    with pytest.raises(UsageError, match=r"models:/zebra/4: domain A is zebra.*exchanged; give models:/zebra@champion"):
        model.look()
    assert model().name == "models:/zebra/3"


@pytest.mark.parametrize(("source", "every_s"), [(ALIAS, 0), ("models:/zebra/1", 0.01), ("runs/zebra", 0.01)])
def test_only_an_alias_is_followed(source: str, every_s: float, registry: Registry) -> None:
    model = FollowedModel(source, ServedModel(name="it", snapshot=Snapshot.open(registry.folder / "1")), print, print)
    with model.following(every_s):
        assert not registry.looked.acquire(timeout=0.2)


def test_a_notification_makes_it_look_at_once_even_if_it_never_looks_by_itself(registry: Registry) -> None:
    loaded = threading.Event()
    model = FollowedModel(ALIAS, opened(ALIAS), lambda snapshot: loaded.set(), lambda line: None)
    moved = looking_soon([model])
    with model.following(0, notified=True):
        registry.version = "2"
        assert not moved("models:/zebra@candidate")
        assert not loaded.wait(0.1)
        assert moved(ALIAS)
        assert loaded.wait(10)


def test_a_canary_is_served_while_its_alias_is_set(registry: Registry) -> None:
    lines: list[str] = []
    registry.is_set = False
    assert opened_canary(ALIAS, lines.append) is None and "is not set" in lines.pop()
    canary = FollowedModel(ALIAS, None, lambda snapshot: None, lines.append, kept=False)
    canary.load_first()
    canary.look()
    assert canary.current is None and not lines
    registry.is_set = True
    canary.look()
    assert canary() is canary.current and canary().name == "models:/zebra/1"
    registry.is_set = False
    canary.look()
    canary.look()
    assert canary.current is None
    assert lines == [f"{ALIAS} is models:/zebra/1 now", f"{ALIAS} is not set any more"]


def test_a_canary_that_cannot_be_loaded_is_none_and_a_folder_is_refused(registry: Registry) -> None:
    lines: list[str] = []

    def load(snapshot: Snapshot) -> None:
        raise UsageError("no memory")

    canary = FollowedModel(ALIAS, opened_canary(ALIAS, lines.append), load, lines.append, kept=False)
    assert canary.current
    canary.load_first()
    assert canary.current is None and lines == [f"no memory; nothing is served for {ALIAS}"]
    (registry.folder / "1" / "G_AB.safetensors").write_bytes(b"damaged")
    assert opened_canary(ALIAS, lines.append) is None and "is damaged" in lines[1]
    with pytest.raises(UsageError, match="is damaged"):
        opened_canary("models:/zebra/1", lines.append)
    with pytest.raises(UsageError, match="no memory"):
        FollowedModel("models:/zebra/1", model_of(registry, "2"), load, print).load_first()


def model_of(registry: Registry, version: str) -> ServedModel:
    return ServedModel(name=f"models:/zebra/{version}", snapshot=Snapshot.open(registry.folder / version))
