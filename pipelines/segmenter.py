"""Train the network that segments photos for the FCN score.

    python -m pipelines.segmenter DATA --palette streets [--out segmenter.safetensors] [--held-out DATA/test]

It learns from the photos and label maps of a data set with pairs.

`python -m pipelines.evaluate SOURCE --data DATA --palette streets --segmenter segmenter.safetensors` then scores
translations from label maps to photos. Nothing is downloaded: the network starts from random weights.
"""

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.config.shipped import read_shipped
from cyclegan_dist.data.location import data_path
from cyclegan_dist.errors import run_command
from cyclegan_dist.evaluation.segmenter_config import SegmenterConfig


def main() -> None:
    """Read the command line, train, and print the score of photos that were not trained on."""
    config = parse_options(SegmenterConfig, "segmenter", __doc__)
    for data in filter(None, (config.data, config.held_out)):
        data_path(data)
    read_shipped(config.palette, "palette")  # refuses a wrong name
    from cyclegan_dist.evaluation.segmenter_training import run  # loads torch

    found = run(config)
    print("held-out photos: " + ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in found.items()))
    print(f"scoring network: {config.out}")


if __name__ == "__main__":
    run_command(main)
