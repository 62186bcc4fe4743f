"""Runnable measurements. Figures that were taken with them are in `docs/benchmarks.md`."""
