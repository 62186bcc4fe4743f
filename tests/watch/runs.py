"""Runs of a few records and grids, without training."""

from pathlib import Path
from typing import Any

from PIL import Image

from cyclegan_dist.tracking.journal import Journal

CONFIG: dict[str, Any] = {"method.name": "cyclegan", "data.load_size": 32, "data.preprocess": "none", "every.log": 4}


def losses(nimg: int) -> dict[str, float]:
    """Values of a record of losses."""
    speed = {"perf/images_per_s": 2.0, "perf/eta_s": 1800.0, "perf/data_wait_frac": 0.01, "progress/epoch": nimg / 20}
    return {"loss/G_AB": 1 / nimg, "loss/G_BA": 2 / nimg, "loss/D": 0.5, **speed}


def make_run(path: Path, *, points: int = 3, grids: int = 2, end: str = "") -> Path:
    """A run with losses every 4 images and as many grids, which differ in colour."""
    with Journal(path) as journal:
        names = {"A": "horse", "B": "zebra"}
        journal.write("run", config=CONFIG, data=[], nimg=0, total=100, domain_names=names)
        for step in range(1, points + 1):
            journal.write("metrics", step=step, nimg=4 * step, values=losses(4 * step))
            if step <= grids:
                add_grid(path, journal, step)
        journal.message("look at <b>this</b>")
        if end:
            journal.write("end", status=end)
    return path


def add_grid(path: Path, journal: Journal, step: int) -> None:
    name = f"samples/nimg-{4 * step:09d}.png"
    (path / "samples").mkdir(exist_ok=True)
    Image.new("RGB", (8, 12), (40 * step, 0, 200)).save(path / name)
    journal.write("image", step=step, key="samples", path=name)
