"""Public functions outside of a trace, without the tensors on the way to their results."""
