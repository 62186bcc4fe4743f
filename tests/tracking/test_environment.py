"""What a training's numbers depend on, as the journal records it."""

import importlib.metadata
import subprocess
from pathlib import Path

import pytest

from cyclegan_dist.tracking import environment


def test_versions_are_those_that_are_imported() -> None:
    found = environment.environment("cpu")
    for name in ("torch", "numpy", "pillow", "safetensors"):
        assert found["packages"][name] == importlib.metadata.version(name)
    assert found["threads"] == 1 and "cuda" not in found
    assert "driver" in environment.environment("cuda")


def test_uncommitted_changes_have_a_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=x", "-c", "user.email=x@x")
        subprocess.run(["git", "-C", tmp_path, *who, *arguments], check=True, capture_output=True)

    (tmp_path / "cyclegan_dist").mkdir()
    source = tmp_path / "cyclegan_dist" / "a.py"
    source.write_text("a = 1\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    monkeypatch.setattr(environment, "_ROOT", tmp_path)
    monkeypatch.setattr(environment, "source_commit", lambda: "a" * 40)
    (tmp_path / "README.md").write_text("no source")
    assert environment.source_changes() == ""
    (tmp_path / "cyclegan_dist" / "b.py").write_text("b = 1\n")
    added = environment.source_changes()
    source.write_text("a = 2\n")
    assert len({"", added, environment.source_changes()}) == 3
    monkeypatch.setattr(environment, "source_commit", lambda: "")
    assert environment.source_changes() == ""
