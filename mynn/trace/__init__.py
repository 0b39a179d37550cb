"""A Python function as a graph, and what that graph depends on beside its arguments.

tracing.py         the trace that is going on in a thread, or none
trace.py           what it records: state read and written, activations, cotangents
guards.py          what it has read of Python: valid while that holds
snapshot.py        copies of plain values, compared later
free_variables.py  the globals, closures and attributes that the code of a function mentions
effects.py         what the function did that will not be done again, said to the user
leaks.py           tensors that have outlived their trace
"""
