"""What the end of a run writes is there, and recorded, however an earlier attempt ended."""

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from cyclegan_dist.checkpoint.store import CheckpointStore
from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.layout import RunFolder
from tests.training.trainings import differences, final_state, go, records

MakeRun = Callable[..., Config]


@pytest.mark.parametrize("lost", ["records", "files"])
def test_what_is_not_in_the_journal_is_written_or_recorded_by_the_same_command(tiny_run: MakeRun, lost: str) -> None:
    options: dict[str, Any] = {"every__samples": 8, "every__snapshot": 8, "stop_after": 8}
    config = tiny_run(**options)
    go(config)
    journal, folder = RunFolder(config.run_dir).journal, RunFolder(config.run_dir)
    _, image = sorted(folder.samples.iterdir())  # the first is that of the beginning
    before = image.read_bytes()
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text(
        "".join(line for line in lines if not any(f'"{kind}"' in line for kind in ("image", "snapshot")))
    )
    image.write_bytes(before[:50])  # half a file, of an older version
    if lost == "files":
        shutil.rmtree(folder.snapshots)
    go(tiny_run(**options))
    go(tiny_run(**options))
    assert sorted((r["kind"], r["path"]) for r in records(config) if "path" in r) == [
        ("image", "samples/nimg-000000008.png"),
        ("snapshot", "snapshots/nimg-000000008"),
    ]
    assert image.read_bytes() == before and folder.snapshot(8).is_dir()


def test_a_run_without_its_last_checkpoint_is_an_error_in_one_line(
    tiny_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, commit = tiny_run(), CheckpointStore._write_part

    def full(self: CheckpointStore, step: int, name: str, content: Any) -> dict[str, Any]:
        if step >= 20:
            raise OSError(28, "No space left on device")
        return commit(self, step, name, content)

    monkeypatch.setattr(CheckpointStore, "_write_part", full)
    with pytest.raises(UsageError, match=r"^the last checkpoint, of step 20, .*No space left.* step 16$"):
        go(config)
    assert records(config)[-1]["status"] == "FAILED"
    monkeypatch.undo()
    assert go(tiny_run()) == "FINISHED"


def test_a_damaged_last_checkpoint_is_written_anew(tiny_run: MakeRun) -> None:
    go(tiny_run(every__checkpoint=16))
    config = tiny_run(every__checkpoint=16)
    last = config.run_dir / "checkpoints" / "step-000000020" / "shared.pt"
    before = final_state(config, 1)
    last.write_bytes(last.read_bytes()[:100])
    assert go(config) == "FINISHED"
    assert differences(before, final_state(config, 1)) == []
