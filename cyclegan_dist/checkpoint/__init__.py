"""Checkpoints: the state that a run resumes from, written atomically."""
