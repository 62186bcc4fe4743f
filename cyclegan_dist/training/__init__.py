"""A training run: its folder, its state, its loop."""
