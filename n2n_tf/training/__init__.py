"""A training run in a folder: recipe, checkpoints, logs, validation."""
