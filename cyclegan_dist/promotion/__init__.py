"""Promotion of models that are good enough to champion of the registry."""
