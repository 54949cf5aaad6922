"""Recipes (one YAML per published method) and the denoiser bundles that training makes of them."""
