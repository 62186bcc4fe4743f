"""Everything that is needed to continue a run, kept so that it is either whole or not there."""
