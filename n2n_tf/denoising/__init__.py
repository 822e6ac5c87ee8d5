"""From a noisy picture to a denoised one: tiles, the network, what is given back."""
