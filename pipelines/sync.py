"""Send to MLflow what a run that died, or whose server was away, has not sent.

python -m pipelines.sync RUN_DIR
"""

from cyclegan_dist.errors import run_command
from cyclegan_dist.training.sender import main

if __name__ == "__main__":
    run_command(main)
