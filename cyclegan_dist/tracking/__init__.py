"""Tracking of a run: its journal, the terminal, and MLflow."""
