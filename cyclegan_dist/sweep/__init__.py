"""Sweeps: what they try, what they remember, and what they say at the end. Free of torch and Ray."""
