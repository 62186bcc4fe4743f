"""Comparison of runs: what their configurations differ in, their curves, and figures of the same held-out images."""
