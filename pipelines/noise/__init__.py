"""Synthetic noise, and whether the noise of given images is independent."""
