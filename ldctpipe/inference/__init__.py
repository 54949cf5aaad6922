"""From a bundle and a scan to a denoised scan."""
