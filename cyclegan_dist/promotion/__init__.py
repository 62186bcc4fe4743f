"""Generators that are good enough become the registry's champion."""
