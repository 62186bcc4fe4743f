"""Breaking a run on purpose: what is to break, the breaking, and what it cost."""
