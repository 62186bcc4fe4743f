"""Hooks: called after every step."""
