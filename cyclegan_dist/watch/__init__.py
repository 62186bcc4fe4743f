"""A live page of runs that reads their folders only."""
