"""Us beside our peers, in one run: `python -m benchmarks --help`."""
