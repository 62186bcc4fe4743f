"""Translating folders and data sets: what becomes what, what one process does of it, and how to go on after a kill."""
