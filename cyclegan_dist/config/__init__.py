"""The configuration tree: presets, YAML and the command line's values."""
