"""Batches of noisy crops for a training run."""
