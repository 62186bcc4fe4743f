"""Checks of the nodes, the network and the storage before a long training."""
