"""Plugins of every training run: fault drills and the evaluation of snapshots."""

from cyclegan_dist.evaluation.during_training import evaluate_snapshots
from cyclegan_dist.operations.drill.inject import inject_faults
from cyclegan_dist.training.trainer import Plugin

PLUGINS: tuple[Plugin, ...] = (inject_faults, evaluate_snapshots)
