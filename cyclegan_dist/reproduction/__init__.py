"""Reproduction of a run or a model: what it was made from, whether that is here, and whether the result is equal."""
