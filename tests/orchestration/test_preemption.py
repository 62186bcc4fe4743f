"""Notices that a node will be taken away. `test_nodes.py` has a real one."""

import time
from pathlib import Path

import pytest

from cyclegan_dist.orchestration import preemption
from cyclegan_dist.storage.layout import RunFolder


def test_each_node_asks_once_and_again_if_the_folder_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run, draining = tmp_path / "run", {"one"}
    monkeypatch.setattr(preemption, "POLL_S", 0.01)
    monkeypatch.setattr(preemption, "draining_nodes", lambda: draining)
    with preemption.checkpoint_before_preemption(run):
        time.sleep(0.1)  # the folder is not there
        run.mkdir()
        for node in ("one", "two"):
            draining |= {node}
            wait_for(run)
            RunFolder(run).save.unlink()
            time.sleep(0.1)
            assert not RunFolder(run).save.exists()
    assert RunFolder(run).journal.read_text().count("asking for a checkpoint") == 2


def wait_for(run: Path) -> None:
    limit = time.monotonic() + 10
    while not (RunFolder(run).save.exists() and RunFolder(run).journal.exists()):
        assert time.monotonic() < limit
        time.sleep(0.01)
