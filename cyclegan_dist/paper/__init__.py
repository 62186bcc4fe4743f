"""The paper's tables: declared in YAML, trained as sweeps, reported with intervals. Imports neither Ray nor MLflow."""
