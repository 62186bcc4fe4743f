"""Files on disk: atomic writes, locks, and the layout of a run folder."""
