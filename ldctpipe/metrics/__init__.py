"""Image quality under named protocols, and its statistics over patients."""
