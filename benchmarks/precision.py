"""Effect of bf16 on quality: the demo trained in fp32 and in bf16, evaluated on the same held-out images.

    python -m benchmarks.precision [--seeds 2]

Both precisions start from the same weights and use the same images in the same order. Two trainings run at a time, with
one thread each.
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

from benchmarks.machine import environment
from benchmarks.runs import LaunchSetup, run
from cyclegan_dist.data.synthetic import draw_scene
from cyclegan_dist.errors import UsageError, run_command

PRECISIONS = ("fp32", "bf16")
HELD_OUT, SIZE = 48, 64
HELD_OUT_SEED = 1000  # differs from the seed of the training scenes
FIGURES = {
    "paired/l1": "error against the ground truth, grey levels",
    "kd/untrained": "kernel distance, untrained features",
    "eval/cycle_l1": "reconstruction error, grey levels",
}
SUFFIXES = ("_AB", "_BA", "_A", "_B")  # direction or domain at the end of a figure's key


def held_out(folder: Path) -> Path:
    """A data set of scenes in both domains."""
    for i in range(HELD_OUT):
        scene = draw_scene(i, seed=HELD_OUT_SEED, size=SIZE)
        for domain in "AB":
            (folder / domain).mkdir(exist_ok=True)
            Image.fromarray(getattr(scene, domain)).save(folder / domain / f"{i}.png")
    run_module(["pipelines.prepare", folder / "A", folder / "B", folder / "held_out", "--pairs", "names"])
    return folder / "held_out"


def figures(folder: Path, data: Path, precision: str, seed: int) -> dict[str, float]:
    """Train and evaluate. Returns each figure's mean over both directions."""
    name = f"{precision}-{seed}"
    options = {"optim.precision": precision, "seed": seed, "tracking.mlflow": False, "world.threads": 1}
    run(folder, LaunchSetup("one process", 1), "demo", name, options)
    out = folder / f"{name}-evaluated"
    run_module(["pipelines.evaluate", folder / "runs" / name, "--data", data, "--out", out, "--no-mlflow"])
    found = json.loads((out / "metrics.json").read_text())["figures"]
    values = {key: [found[key + suffix]["value"] for suffix in SUFFIXES if key + suffix in found] for key in FIGURES}
    means = {key: statistics.mean(both) for key, both in values.items()}
    print(f"{name}: {means}", file=sys.stderr, flush=True)  # the table may be hours away
    return means


def main(seeds: int = 2) -> None:
    """Measure and print."""
    if seeds < 1:
        raise UsageError(f"{seeds} seeds: give at least 1, preferably more")
    print(environment())
    with tempfile.TemporaryDirectory(prefix="precision") as name, ThreadPoolExecutor(2) as pool:
        folder = Path(name)
        data = held_out(folder)
        futures = {
            precision: [pool.submit(figures, folder, data, precision, seed) for seed in range(seeds)]
            for precision in PRECISIONS
        }
        try:
            found = {precision: [future.result() for future in of_seeds] for precision, of_seeds in futures.items()}
        finally:
            pool.shutdown(cancel_futures=True)  # do not start the next trainings after Ctrl-C or a failure
    print("| metric, mean of both directions | precision | by seed | mean |\n|---|---|---|---|")
    for key, title in FIGURES.items():
        for precision, by_seed in found.items():
            values = [each[key] for each in by_seed]
            listed = ", ".join(f"{value:.4f}" for value in values)
            print(f"| {title} (`{key}`) | {precision} | {listed} | {statistics.mean(values):.4f} |")


def run_module(arguments: list[object]) -> None:
    """Run `python -m` with a module and its arguments.

    Raises:
        RuntimeError: with the end of its output, if it fails.
    """
    done = subprocess.run([sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{arguments[0]}: {done.stderr[-2000:]}")


if __name__ == "__main__":
    run_command(lambda: tyro.cli(main, prog="python -m benchmarks.precision", description=__doc__))
