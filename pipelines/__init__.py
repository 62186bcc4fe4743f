"""Workflows to run: python -m pipelines.NAME."""
