"""Evaluate generators: distances to real images, typical failures.

    python -m pipelines.evaluate SOURCE --data DATA [--split test] [--out OUT]

SOURCE is a run, of which the newest snapshot is taken, a snapshot, or a registered model: models:/NAME@champion. Give
images that were not trained on. Reconstructions are measured too. Results go to metrics.json and a page in OUT, and to
the run in MLflow. Under torchrun all ranks take a share of the images.
"""

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.data.location import data_path
from cyclegan_dist.errors import run_command
from cyclegan_dist.evaluation.command import Evaluate
from cyclegan_dist.registry.sources import refuse_missing_source


def main() -> None:
    """Read the command line and evaluate."""
    command = parse_options(Evaluate, "evaluate", __doc__)
    refuse_missing_source(command.source)
    data_path(command.data, command.split)
    from cyclegan_dist.evaluation.evaluate import run  # loads torch

    run(command)


if __name__ == "__main__":
    run_command(main)
