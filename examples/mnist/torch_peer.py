"""The MNIST job in PyTorch: `python -m examples.mnist.torch_peer --threads 1`.

The data stand in memory and a batch is a gather by a permutation, which is several times faster
than a `DataLoader`; Adam is the fused one.
"""

from __future__ import annotations

from itertools import pairwise
from time import perf_counter

import torch
from torch import nn

from examples.mnist.data import load
from examples.mnist.job import BATCH, SIZES, Epoch, arguments, epochs, learning_rate


def network() -> nn.Sequential:
    """Linear layers with relu in between."""
    parts: list[nn.Module] = []
    for n, m in pairwise(SIZES):
        parts += [nn.Linear(n, m), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def main() -> None:
    """Train, print a line an epoch."""
    args = arguments(__doc__)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    x, t = (torch.from_numpy(a) for a in load("train"))
    test_x, test_t = (torch.from_numpy(a) for a in load("t10k"))
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=learning_rate(1), fused=True)
    criterion = nn.CrossEntropyLoss()
    for epoch in epochs(args):
        start = perf_counter()
        optimizer.param_groups[0]["lr"] = learning_rate(epoch)
        total = torch.zeros(())
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            loss = criterion(net(x[rows]), t[rows])
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows)
        seconds = perf_counter() - start
        with torch.inference_mode():
            accuracy = (net(test_x).argmax(1) == test_t).float().mean().item()
        Epoch(epoch, seconds, total.item() / len(x), accuracy).print()


if __name__ == "__main__":
    main()
