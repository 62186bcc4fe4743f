"""Hyperparameter sweeps: their YAML format, drawing, recording and ranking of trials. Imports neither torch nor Ray."""
