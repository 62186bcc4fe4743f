"""Drill G23: a write that never returns, with one process and with two ranks."""

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import run_command
from cyclegan_dist.orchestration.launch import launch
from cyclegan_dist.step.distributed import World
from cyclegan_dist.storage import files
from cyclegan_dist.training import waiting, watchdog
from tests.faults.forked_processes import in_fork
from tests.faults.matrix import Measured, Stage, row
from tests.ranks import run_ranks
from tests.training.trainings import go

LIMIT_S, STOPPING_S = 4.0, 2.0


def never_returns() -> None:
    """Block in the system, where no signal's handler of Python can run, like a write to storage that is gone."""
    lock = ctypes.create_string_buffer(64)
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(lock)


def hang_in(part: str) -> None:
    """Make the flush of each path hang whose text has `part`."""
    flush = files.sync

    def hanging(path: Path) -> None:
        if part in str(path):
            path.parent.parent.joinpath("hangs").touch()
            never_returns()
        flush(path)

    files.sync = hanging
    for module in ("checkpoint.storage", "models.snapshot"):
        __import__(f"cyclegan_dist.{module}", fromlist=["sync"]).sync = hanging


def ended(config: Config, part: str, number: int = 0) -> tuple[int | None, float, str]:
    """Train in a process whose writes hang, and send it a signal then. Returns its exit code, the seconds from the
    hanging write or the signal to its end, and what it wrote to standard error.
    """
    output = config.run_dir / "stderr"

    def train() -> None:
        os.dup2(os.open(output, os.O_CREAT | os.O_WRONLY), 2)
        sys.stderr = os.fdopen(2, "w", buffering=1)  # that of a test may be another
        hang_in(part)
        watchdog.STOPPING_S = waiting.STOPPING_S = STOPPING_S
        run_command(lambda: launch(config, "local"))

    began = 0.0

    def signal_it() -> None:
        nonlocal began
        while not (mark := list(config.run_dir.rglob("hangs"))):
            time.sleep(0.05)
        began = time.time() if number else mark[0].stat().st_mtime
        if number:
            time.sleep(1)
            began = time.time()
            os.kill(int((config.run_dir / "pid").read_text()), number)

    def train_and_name() -> None:
        (config.run_dir / "pid").write_text(str(os.getpid()))
        train()

    watching = threading.Thread(target=signal_it, daemon=True)
    watching.start()
    code = in_fork(train_and_name, 60)
    return code, time.time() - began, output.read_text()


def together(config: Config, folder: Path) -> tuple[float, int]:
    """Train on two ranks, of which one hangs in a write. Returns the seconds until both end, and how many named it."""

    def work(world: World) -> tuple[float, bool]:
        if world.rank == 1:
            hang_in("rank-00001")
        began = time.monotonic()
        try:
            go(config, world)
        except Exception as error:
            return time.monotonic() - began, "no progress" in str(error)
        return time.monotonic() - began, False

    found = run_ranks(work, 2)
    return max(seconds for seconds, _ in found), sum(said for _, said in found)


@row(
    "G23",
    "a write never returns: of a checkpoint, of a snapshot, of one rank of two; with SIGTERM, and without",
    "the process ends after world.save_timeout_s, or soon after SIGTERM, with one line",
    slow=True,
    nightly=True,
)
def hanging(stage: Stage) -> Measured:
    figures: list[str] = []
    right = 0
    cases: list[tuple[str, str, int]] = [("checkpoint", "shared.pt", 0), ("snapshot", "card.json", signal.SIGTERM)]
    if stage.thorough:
        cases += [("checkpoint", "shared.pt", signal.SIGTERM), ("snapshot", "card.json", 0)]
    for what, part, number in cases:
        name = f"{what}{number}"
        config = stage.run(
            name=name, every__snapshot=8, world__save_timeout_s=LIMIT_S if not number else 60, schedule__n_epochs=3
        )
        code, seconds, said = ended(config, part, number)
        lines = [line for line in said.splitlines() if not line.startswith("stopped:")]  # the launcher's own
        limit, codes = (STOPPING_S, (128 + number,)) if number else (LIMIT_S, (1, 2))
        # A signal that comes while a checkpoint hangs is told in the journal, which the launcher prints.
        told = (len(lines) == 1 and "does the storage answer" in lines[0]) or (number and not lines)
        good = code in codes and seconds < limit + 8 and bool(told)
        right += good
        signal_text = "SIGTERM, " if number else ""
        figures.append(f"{what}: {signal_text}exit code {code} after {seconds:.1f} s" + ("" if good else f" ({said})"))
    config = stage.run(
        name="ranks", optim__batch_size=4, world__save_timeout_s=LIMIT_S, every__checkpoint=8, schedule__n_epochs=9
    )
    seconds, said = together(config, stage.folder)
    good = said >= 1 and seconds < LIMIT_S + 20  # the other may lose its connection first
    figures.append(f"one of two ranks: both ended after {seconds:.1f} s, named by {said}")
    return Measured(
        f"save_timeout_s {LIMIT_S:.0f}, {STOPPING_S:.0f} s after a signal: " + "; ".join(figures),
        good and right == len(cases),
    )
