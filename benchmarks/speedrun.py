"""The paper's whole horse2zebra schedule on one GPU: its duration, its energy, and how good the result is.

    python -m benchmarks.speedrun --data data/horse2zebra [--preset speedrun+stable] [--runs_dir runs] [--minutes 9]
        [--dotted.key value ...]

DATA is a prepared data set, with the held-out images in its folder `test`:

    python -m pipelines.prepare horse2zebra/trainA horse2zebra/trainB data/horse2zebra --load-size 286
    python -m pipelines.prepare horse2zebra/testA horse2zebra/testB data/horse2zebra/test --load-size 286

It trains the preset `speedrun`, or another one, as `cyclegan_dist.train --launcher local` does, without MLflow. After
any interruption the same command resumes; times and energy of all attempts are added up. With `--minutes`, it stops
with a checkpoint when the time is up (exit code 143). At the end of the schedule, or of `--stop_after` images, it
evaluates the held-out images and writes `speedrun.md`, `speedrun.json` and a page of images into the run folder. Needs
`pip install 'cyclegan_dist[features]'`, or `--features untrained`, without class rates; `none` evaluates nothing.

Little more than torch is needed: no Ray, MLflow, WebDataset, pydantic or tyro. Where data and packages have to be
carried to the machine: this data set has 115 MiB. Images are encoded again only if they are reduced: `--load-size 255
--quality 85` instead of `--load-size 286` leaves 64 MiB, 80 leaves 54, 75 leaves 48. The wheels of efficientnet_lite0
have 17 MiB. docs/benchmarks.md has all commands.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from cyclegan_dist.errors import UsageError, run_command


def main() -> int:
    """Read the command line, train, report. Returns the exit code."""
    started = time.time()  # before torch is loaded: users wait for that too
    options, values = parse(sys.argv[1:])
    from benchmarks.speedrun_training import run

    return run(options, values, started)


def parse(arguments: list[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The command line: its own options, and config values by dotted key; argparse, as a GPU machine may lack tyro.

    Raises:
        UsageError: for a value that is not YAML, or an option without one.
    """
    from cyclegan_dist.config.yaml_tree import read_yaml

    parser = argparse.ArgumentParser(
        "python -m benchmarks.speedrun", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="prepared data set, with held-out images in `test`")
    parser.add_argument("--preset", default="speedrun", help="preset, YAML file, or several joined by +")
    parser.add_argument("--runs_dir", default="runs", help="folder of run folders (default runs)")
    parser.add_argument("--stop_after", type=int, default=0, help="images, for a trial; 0: the whole schedule")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so many minutes; 0: do not")
    parser.add_argument("--features", default="efficientnet_lite0", help="network that judges, `untrained`, or `none`")
    options, rest = parser.parse_known_args(arguments)
    if len(rest) % 2 or not all(name.startswith("--") for name in rest[::2]):
        raise UsageError(f"{' '.join(rest)}: give config values as --optim.lr 1e-4")
    return options, {name[2:]: read_yaml(value, name) for name, value in zip(rest[::2], rest[1::2], strict=True)}


if __name__ == "__main__":
    run_command(main)
