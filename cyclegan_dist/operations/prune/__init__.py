"""Frees disk space of runs: what is found that is not needed any more, and its removal."""
