"""What is trained: players and the terms they minimise. One file a method."""
