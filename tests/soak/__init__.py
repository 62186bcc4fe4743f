"""Many short trainings of many ranks, to find hangs that are too rare for a test."""
