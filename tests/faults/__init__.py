"""Fault-injection drills: each row of the matrix injects a real fault and measures the outcome."""
