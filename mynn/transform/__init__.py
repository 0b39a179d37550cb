"""Functions made of functions: gradients."""
