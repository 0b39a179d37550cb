"""What can be done with a tensor: methods by family, as bases of `Tensor`."""
