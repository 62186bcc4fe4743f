"""Leaderboard: runs and snapshots measured by one protocol, with the seeds of a configuration taken together."""
