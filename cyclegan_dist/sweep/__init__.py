"""Hyperparameter sweeps: their YAML format, how trials are drawn, recorded and ranked. Free of torch and Ray."""
