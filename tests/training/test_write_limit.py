import multiprocessing
import time
from pathlib import Path

import pytest

from cyclegan_dist.training import parts, run_folder
from cyclegan_dist.training.run_folder import start_run
from cyclegan_dist.training.write_limit import limited_writes
from tests.conftest import make_run
from tests.training.trainings import go


def exit_of(work: object, *arguments: object) -> int | None:
    """The exit code of a forked process that calls `work`."""
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    process.join(60)
    return process.exitcode


def test_writes_in_time_are_not_ended(tmp_path: Path) -> None:
    with limited_writes(tmp_path, 0.05):
        pass
    time.sleep(0.1)


@pytest.mark.parametrize("where", ["config.yaml", "attempt"])
def test_a_write_that_hangs_before_the_first_step_ends_the_process(
    where: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = make_run(tmp_path, data__path=str(dataset), world__save_timeout_s=0.3)
    if where == "config.yaml":
        monkeypatch.setattr(run_folder, "write_atomic", lambda *_: time.sleep(60))
        code = exit_of(start_run, config)
    else:
        monkeypatch.setattr(parts.Fence, "claim", lambda _: time.sleep(60))
        code = exit_of(go, config)
    assert code == 1
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert lines == [
        f"error: writing to {config.run_dir} has hung for 0 s: does the storage answer? Raise world.save_timeout_s if it "
        "is that slow; run the same command again to resume"
    ]
