"""Bayer mosaics and the camera files that hold them."""
