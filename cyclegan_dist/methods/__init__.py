"""Training methods: players and the loss terms they minimise, in one file per method."""
