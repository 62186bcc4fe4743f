"""One update of every player."""
