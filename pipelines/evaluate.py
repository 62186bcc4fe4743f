"""Measure how good generators are: distances to real images, reconstructions, and what looks wrong.

python -m pipelines.evaluate SOURCE --data DATA [--split test] [--out OUT]
"""

from cyclegan_dist.errors import run_command
from cyclegan_dist.evaluation.evaluate import main

if __name__ == "__main__":
    run_command(main)
