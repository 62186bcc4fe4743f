"""Sizing: how many GPUs a training can use, how long it takes and what it costs, computed from measured figures."""
