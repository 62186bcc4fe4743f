import io
import threading
from pathlib import Path

import pytest
from rich.console import Console

from cyclegan_dist.tracking.console import estimate_line, watch
from cyclegan_dist.tracking.journal import Journal

VALUES = {
    "loss/G_AB": 0.5,
    "loss/D_B": 0.25,
    "lr/G": 2e-4,
    "progress/epoch": 1.5,
    "perf/images_per_s": 12.3,
    "perf/eta_s": 3725.0,
    "perf/data_wait_frac": 0.012,
}


def show(run_dir: Path, terminal: bool) -> str:
    with Journal(run_dir) as journal:
        journal.write("run", config={}, total=1000, nimg=0)
        journal.write("metrics", step=7, nimg=150, values=VALUES)
        journal.message("resumed at step [5]")
    out, done = io.StringIO(), threading.Event()
    done.set()
    watch(run_dir, 0, done, Console(file=out, force_terminal=terminal, width=200))
    return out.getvalue()


def test_without_a_terminal_plain_lines_are_printed(tmp_path: Path) -> None:
    lines = show(tmp_path, terminal=False).splitlines()
    assert lines == [
        "step 7 epoch 1.50 images 150/1000 12.3 img/s eta 1:02:05 wait 1.2% | G_AB 0.500 D_B 0.250",
        "resumed at step [5]",
    ]


@pytest.mark.filterwarnings("ignore:install")
def test_on_a_terminal_a_live_line_is_printed(tmp_path: Path) -> None:
    text = show(tmp_path, terminal=True)
    assert "step 7 epoch 1.50" in text
    assert "\x1b[" in text
    assert "resumed at step [5]" in text


def test_an_estimate_is_one_line() -> None:
    values = {"images_per_s": 0.41, "seconds": 6e8, "log_s": 244.0, "checkpoint_bytes": 3.4e8, "kept_bytes": 2.2e9}
    record = {"step": 2, "nimg": 2, "values": values}
    assert estimate_line(record, 246_202) == (
        "estimate: 0.41 images/s, 19 years for the 246,200 images left; losses every 4.1 min; "
        "a checkpoint 340 MB, all that is kept 2.2 GB"
    )
    values |= {"log_s": 2.0, "memory_bytes": 6e9, "card_bytes": 8e10, "cost": 1234.5}
    assert "left; memory 6 GB of 80 GB on the GPU; a" in estimate_line(record, 9)
    assert estimate_line(record, 9).endswith("; cost 1,234.50")
