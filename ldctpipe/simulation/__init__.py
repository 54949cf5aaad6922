"""Reduced dose in the projection domain, and phantoms with known truth."""
