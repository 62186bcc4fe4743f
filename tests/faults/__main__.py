"""Command that runs the drills with all repetitions and writes `docs/faults.md`.

    python -m tests.faults [B2 C1 ...]

With ids, only those rows are run again and replaced in the page; otherwise all rows are run.
"""

import datetime
import json
import os
import platform
import sys
import tempfile
import time
import traceback
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from tests.faults.drills import ROWS
from tests.faults.matrix import Measured, Row, Stage
from tests.faults.page import FIGURES, render

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
SEED = 0


def drill(row: Row) -> dict[str, Any]:
    """Run one row's drill, and return its entry in the results."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="drill") as folder, warnings.catch_warnings():
        os.environ["CYCLEGAN_DIST_HOME"] = folder
        try:
            found = row.drill(Stage(Path(folder), thorough=True, seed=SEED))
        except Exception:
            found = Measured(f"the drill failed: {traceback.format_exc().splitlines()[-1]}", False)
            traceback.print_exc()
    return {"passed": bool(found.passed), "figure": found.figure, "seconds": round(time.monotonic() - began, 1)}


def main(ids: list[str]) -> int:
    """Run the drills, and return 1 if one of them did not pass."""
    torch.set_num_threads(1)
    console = Console()
    passed = True
    for row in ROWS.values():
        if not ids or row.id in ids:
            entry = drill(row)
            passed = passed and entry["passed"]
            verdict = "pass" if entry["passed"] else "FAIL"
            console.print(f"{row.id:4} {verdict} {entry['figure']}", markup=False, soft_wrap=True)
            # Save after each row, as all of them take an hour, and keep rows that another process saved meanwhile.
            known = json.loads(FIGURES.read_text())["rows"] if FIGURES.exists() else {}
            known[row.id] = entry
            save({id: known[id] for id in ROWS if id in known})
    return int(not passed)


def save(rows: dict[str, Any]) -> None:
    """Write the figures, and the page that shows them."""
    figures = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} CPU cores, {platform.system()}, Python {platform.python_version()}",
        "versions": {
            name: version(name) for name in ("torch", "torchvision", "ray", "webdataset", "pyarrow", "pillow", "mlflow")
        },
        "seed": SEED,
        "rows": rows,
    }
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    PAGE.write_text(render(figures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
