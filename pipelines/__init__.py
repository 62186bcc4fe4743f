"""Workflows to run: python -m pipelines.NAME."""

import importlib.util
import sys

from cyclegan_dist.errors import missing_package

if sys.argv[0] == "-m" and importlib.util.find_spec("tyro") is None:  # one of its modules is to be run
    print(missing_package("tyro"), file=sys.stderr)
    sys.exit(2)
