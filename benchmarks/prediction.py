"""Prediction of the cost model for the paper's experiment on many GPUs."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.cost_model import Link, Machine, count
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig

RANKS = (1, 8, 16, 32, 64, 128, 256, 512, 1024)
SIZE = 256
# Nodes of eight GPUs. A ring passes through every GPU of a node and uses all of its network cards, so a rank has the
# bandwidth of its whole node, unless NVLink is slower.
LINKS = {
    "10 Gbit/s per node": Link(10e9 / 8, 50e-6),
    "25 Gbit/s per node": Link(25e9 / 8, 50e-6),
    "100 Gbit/s per node": Link(100e9 / 8, 20e-6),
    "400 Gbit/s per node": Link(400e9 / 8, 10e-6),
    "8 x 400 Gbit/s per node": Link(8 * 400e9 / 8, 10e-6),
}
WITHIN_NODE = Link(450e9, 5e-6)  # NVLink 4, one direction, according to its data sheet
MICRO_BATCHES = (1, 4, 16)


def predict(achieved: float, jitter: float) -> dict[int, dict[str, list[float]]]:
    """Efficiency by images per rank, then by link: one value for each of `RANKS`. Prints a table of each.

    Args:
        achieved: floating-point operations per second of a rank.
        jitter: standard deviation of a rank's step time, relative to that time.
    """
    found: dict[int, dict[str, list[float]]] = {}
    for micro_batch in MICRO_BATCHES:
        works = count(CycleGANConfig(), SIZE, micro_batch)
        flops = sum(work.flops for work in works.values())
        size = sum(work.gradient_bytes for work in works.values())
        one_s = flops / achieved
        print(
            f"\n{micro_batch} images per rank: {flops / 1e12:.2f} TFLOP and {size / 1e6:.0f} MB of gradients per step, "
            f"{1000 * one_s:.1f} ms at {achieved / 1e12:.0f} TFLOP/s"
        )
        print(f"\n| link | {' | '.join(f'{n} GPUs' for n in RANKS[1:])} |\n|{'---|' * len(RANKS)}")
        found[micro_batch] = {}
        for name, link in LINKS.items():
            efficiency = [
                Machine(achieved, WITHIN_NODE if n <= 8 else link, jitter_s=jitter * one_s).efficiency(works, n)
                for n in RANKS
            ]
            found[micro_batch][name] = efficiency
            print(f"| {name} | {' | '.join(f'{100 * value:.0f} %' for value in efficiency[1:])} |")
    return found


def draw(found: dict[int, dict[str, list[float]]], picture: Path) -> None:
    """Draw one panel for each number of images per rank."""
    figure, axes = plt.subplots(1, len(found), figsize=(4 * len(found), 3.6), sharey=True, squeeze=False)
    colours = plt.get_cmap("viridis")
    for axis, (micro_batch, by_link) in zip(axes[0], found.items(), strict=True):
        for i, (name, efficiency) in enumerate(by_link.items()):
            colour = colours(i / len(by_link))
            axis.plot(RANKS, [100 * value for value in efficiency], marker="o", markersize=3, color=colour, label=name)
        axis.set_xscale("log", base=2)
        axis.set_xticks(RANKS, [str(n) for n in RANKS], fontsize=7)
        axis.set_title(f"images per domain and GPU: {micro_batch}", fontsize=10)
        axis.set_xlabel("GPUs")
        axis.grid(color="0.9")
    axes[0][0].set_ylabel("efficiency, % (predicted)")
    axes[0][0].set_ylim(0, 102)
    axes[0][-1].legend(fontsize=8, frameon=False, loc="lower left")
    figure.savefig(picture, dpi=120, bbox_inches="tight")
    plt.close(figure)
    print(f"\npicture: {picture}")
