"""What users get of a trained model: snapshots, translation, exports, published weights."""
