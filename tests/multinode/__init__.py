"""A real Ray cluster on this machine, one node for each network namespace, and tests on it."""
