"""What bf16 does to quality: the demo trained in fp32 and in bf16, and how far from the truth held-out images end.

    python -m benchmarks.precision [--seeds 3]

Both precisions start from the same weights and see the same images in the same order. Errors are mean absolute
differences to the true translation, in grey levels of 255.
"""

import statistics
import tempfile
from pathlib import Path

import torch
import tyro

from benchmarks.machine import circumstances
from benchmarks.runs import Arrangement, run
from cyclegan_dist.data.synthetic import draw_scene
from cyclegan_dist.gallery import mean_absolute_error, there_and_back
from cyclegan_dist.snapshot import find_snapshot, load_generator

PRECISIONS = ("fp32", "bf16")
HELD_OUT, SIZE = 48, 64
OTHER_SEED = 1000  # of the scenes that nothing was trained on


def errors(run_dir: Path) -> dict[str, float]:
    """Of a run's generators, by direction."""
    scenes = [draw_scene(i, seed=OTHER_SEED, size=SIZE) for i in range(HELD_OUT)]
    images = {d: [torch.from_numpy(getattr(scene, d)).permute(2, 0, 1) for scene in scenes] for d in "AB"}
    snapshot = find_snapshot(run_dir)
    G_AB, G_BA = (load_generator(snapshot, direction) for direction in ("AB", "BA"))
    there, back = there_and_back(G_AB, G_BA, images["A"]), there_and_back(G_BA, G_AB, images["B"])
    return {
        "A to B": mean_absolute_error(there["translation"], images["B"]),
        "B to A": mean_absolute_error(back["translation"], images["A"]),
    }


def main(seeds: int = 3) -> None:
    """Measure and print."""
    print(circumstances())
    found: dict[str, list[dict[str, float]]] = {precision: [] for precision in PRECISIONS}
    with tempfile.TemporaryDirectory(prefix="precision") as folder:
        for seed in range(seeds):
            for precision in PRECISIONS:
                name = f"{precision}-{seed}"
                options = {"optim.precision": precision, "seed": seed, "tracking.mlflow": False, "world.threads": 2}
                run(Path(folder), Arrangement("one process", 1), "demo", name, options)
                found[precision].append(errors(Path(folder) / "runs" / name))
    print("| precision | A to B, each seed | mean | B to A, each seed | mean |\n|---|---|---|---|---|")
    for precision, by_seed in found.items():
        cells = []
        for direction in by_seed[0]:
            values = [each[direction] for each in by_seed]
            cells += [", ".join(f"{value:.2f}" for value in values), f"{statistics.mean(values):.2f}"]
        print(f"| {precision} | {' | '.join(cells)} |")


if __name__ == "__main__":
    tyro.cli(main, prog="python -m benchmarks.precision", description=__doc__)
