"""Checks before a training and fault drills: nothing that trains needs them."""
