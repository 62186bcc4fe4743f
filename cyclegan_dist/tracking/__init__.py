"""The run's journal, and those who read it: terminal and MLflow."""
