"""Programs of small networks, written for PyTorch.

Each runs under PyTorch as it stands, and under mynn with its import lines changed:
`python -m examples.torch_programs` does both, says whether the losses agree, and times them.

A program has `networks()`, which makes its networks, and `train(networks, steps)`, which gives the
loss of each step. Its random numbers come from NumPy, so that both compute the same.
"""
