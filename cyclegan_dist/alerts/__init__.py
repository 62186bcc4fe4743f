"""Alerts of runs and models, by webhook and e-mail."""
