"""Shards, manifest, order and images: from files to batches."""
