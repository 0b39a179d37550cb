"""A Python function as a graph, and what that graph depends on beside its arguments."""
