"""The goodput drill: kills at a regular interval on the simulated cluster, and restarts of 2 to 16 ranks."""
