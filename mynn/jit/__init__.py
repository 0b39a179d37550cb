"""A Python function as a program: what a trace depends on beside its arguments."""
