"""The shipped presets: YAML files that state what differs from the defaults."""
