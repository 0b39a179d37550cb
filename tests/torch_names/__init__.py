"""Public names of PyTorch: there, or left out with a reason."""
