"""MLflow's models and its registry of them."""
