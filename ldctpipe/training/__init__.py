"""The training loop, its checkpoints, and one file per algorithm."""
