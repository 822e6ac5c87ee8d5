"""Where images come from and go to: files, noise, Bayer mosaics. Knows files, never models."""
