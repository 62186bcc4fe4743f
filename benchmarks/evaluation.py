"""How long the evaluation beside a training takes on one core, image by image.

    python -m benchmarks.evaluation [--size 256] [--images 100] [--repeats 3]

Seconds of processor time, so that other processes of the machine count little: the generator as it is by default, each
packaged feature network, and what follows from them for a snapshot of two generators.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.machine import environment
from cyclegan_dist.evaluation.content import Structure
from cyclegan_dist.evaluation.features import feature_network
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.networks.pretrained import PACKAGED

BATCH = 4  # as in an evaluation


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median processor time for one image of a batch."""
    work()  # what is done once
    found: list[float] = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        found.append((time.process_time() - began) / BATCH)
    return statistics.median(found)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="pixels of a side")
    parser.add_argument("--images", type=int, default=100, help="held-out images of each domain")
    parser.add_argument("--repeats", type=int, default=3, help="batches, of which the median counts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cpu, size = torch.device("cpu"), (BATCH, 3, options.size, options.size)
    images, real = torch.randint(0, 256, size, dtype=torch.uint8), torch.rand(size) * 2 - 1
    generator = CycleGANConfig().build(rank_seed=0).translators["AB"].eval()
    with torch.inference_mode():
        found = {"generator": seconds(lambda: generator(real), options.repeats)}
    for name in ("untrained", *PACKAGED):
        network = feature_network(name, cpu)
        found[name] = seconds(lambda network=network: network.of(images), options.repeats)
    structure = Structure(PACKAGED[0], cpu)
    found["structure"] = seconds(lambda: structure.change(images, images), options.repeats)
    print(environment("torchvision"))
    print(f"| {options.size} px, one core | seconds for an image |\n|---|---:|")
    for name, value in found.items():
        print(f"| {name} | {value:.3f} |")
    print("\n| evaluation of a snapshot | minutes | an hour |\n|---|---:|---:|")
    for metrics, translations in (("distances", 1), ("all", 3)):
        for networks in (("untrained",), (PACKAGED[0],), PACKAGED):
            # Of each image: its translation (with its reconstruction, and its own domain's), and the features of both.
            each = translations * found["generator"] + 2 * sum(found[name] for name in networks)
            each += found["structure"] if metrics == "all" and networks != ("untrained",) else 0.0
            minutes = 2 * options.images * each / 60
            print(f"| {metrics}, {' + '.join(networks)} | {minutes:.1f} | {60 / minutes:.1f} |")


if __name__ == "__main__":
    main()
