import io
import threading
from pathlib import Path

import pytest
from rich.console import Console

from cyclegan_dist.tracking.console import watch
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
