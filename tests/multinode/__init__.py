"""Tests on a real Ray cluster on this machine, with one node per network namespace."""
