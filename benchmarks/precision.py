"""What bf16 does to quality: the demo trained in fp32 and in bf16, and the same held-out images judged.

    python -m benchmarks.precision [--seeds 2]

Both precisions start from the same weights and see the same images in the same order. Two trainings at a time, one
thread each.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tyro
from PIL import Image

from benchmarks.machine import circumstances
from benchmarks.runs import Arrangement, run
from cyclegan_dist.data.synthetic import draw_scene
from cyclegan_dist.errors import UsageError, run_command

PRECISIONS = ("fp32", "bf16")
HELD_OUT, SIZE = 48, 64
OTHER_SEED = 1000  # of scenes that nothing is trained on
FIGURES = {
    "paired/l1": "difference to the truth, grey levels",
    "kd/untrained": "kernel distance",
    "eval/cycle_l1": "difference of reconstructions, grey levels",
}
ENDS = ("_AB", "_BA", "_A", "_B")  # of a figure's key: its direction, or its domain


def held_out(folder: Path) -> Path:
    """A data set of scenes in both domains."""
    for i in range(HELD_OUT):
        scene = draw_scene(i, seed=OTHER_SEED, size=SIZE)
        for domain in "AB":
            (folder / domain).mkdir(exist_ok=True)
            Image.fromarray(getattr(scene, domain)).save(folder / domain / f"{i}.png")
    _call(["pipelines.prepare", folder / "A", folder / "B", folder / "held_out", "--pairs", "names"])
    return folder / "held_out"


def figures(folder: Path, data: Path, precision: str, seed: int) -> dict[str, float]:
    """Train and judge; figures as means of both directions."""
    name = f"{precision}-{seed}"
    options = {"optim.precision": precision, "seed": seed, "tracking.mlflow": False, "world.threads": 1}
    run(folder, Arrangement("one process", 1), "demo", name, options)
    out = folder / f"{name}-judged"
    _call(["pipelines.evaluate", folder / "runs" / name, "--data", data, "--out", out, "--no-mlflow"])
    found = json.loads((out / "metrics.json").read_text())["figures"]
    values = {key: [found[key + end]["value"] for end in ENDS if key + end in found] for key in FIGURES}
    means = {key: statistics.mean(both) for key, both in values.items()}
    print(f"{name}: {means}", file=sys.stderr, flush=True)  # hours may pass before the table
    return means


def main(seeds: int = 2) -> None:
    """Measure and print."""
    if seeds < 1:
        raise UsageError(f"{seeds} seeds: give at least 1, better more")
    print(circumstances())
    with tempfile.TemporaryDirectory(prefix="precision") as name, ThreadPoolExecutor(2) as pool:
        folder = Path(name)
        data = held_out(folder)
        asked = {
            precision: [pool.submit(figures, folder, data, precision, seed) for seed in range(seeds)]
            for precision in PRECISIONS
        }
        try:
            found = {precision: [future.result() for future in futures] for precision, futures in asked.items()}
        finally:
            pool.shutdown(cancel_futures=True)  # after Ctrl-C or a failure nothing new begins
    print("| figure, mean of both directions | precision | each seed | mean |\n|---|---|---|---|")
    for key, title in FIGURES.items():
        for precision, by_seed in found.items():
            values = [each[key] for each in by_seed]
            each = ", ".join(f"{value:.4f}" for value in values)
            print(f"| {title} (`{key}`) | {precision} | {each} | {statistics.mean(values):.4f} |")


def _call(words: list[object]) -> None:
    """A command of ours.

    Raises:
        RuntimeError: with the end of its output, if it fails.
    """
    done = subprocess.run([sys.executable, "-m", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{words[0]}: {done.stderr[-2000:]}")


if __name__ == "__main__":
    run_command(lambda: tyro.cli(main, prog="python -m benchmarks.precision", description=__doc__))
