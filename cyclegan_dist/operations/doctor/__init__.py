"""Is a cluster fit for a night's run: what is looked at on every node, between the nodes and around them."""
