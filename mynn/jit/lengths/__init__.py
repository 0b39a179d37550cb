"""One program for batches of several sizes: which axes hold rows, and what sums over them need."""
