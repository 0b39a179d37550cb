"""The LeNet job in PyTorch: `python -m examples.mnist.lenet_torch --threads 2`.

The bytes stand in memory, a batch is a gather by a permutation, and SGD is the fused one.
"""

from __future__ import annotations

from time import perf_counter

import torch
from torch import nn

from examples.mnist.data import DEVIATION, MEAN, load_bytes
from examples.mnist.job import Epoch, arguments, epochs
from examples.mnist.lenet_job import (
    BATCH,
    CHANNELS,
    FEATURES,
    HIDDEN,
    MOMENTUM,
    SLICE,
    learning_rate,
)


def network() -> nn.Sequential:
    """The network of lenet.py, without the scaling."""
    first, second = CHANNELS
    return nn.Sequential(
        nn.Conv2d(1, first, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(FEATURES, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, 10),
    )


def scaled(images: torch.Tensor) -> torch.Tensor:
    """Bytes [N, 28, 28] -> [N, 1, 28, 28] float32, standardised."""
    return ((images.float() / 255 - MEAN) / DEVIATION)[:, None]


def main() -> None:
    """Train, print a line an epoch."""
    args = arguments(__doc__)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    x, t = (torch.from_numpy(a.copy()) for a in load_bytes("train"))
    test_x, test_t = (torch.from_numpy(a.copy()) for a in load_bytes("t10k"))
    net = network()
    optimizer = torch.optim.SGD(
        net.parameters(), lr=learning_rate(1), momentum=MOMENTUM, fused=True
    )
    criterion = nn.CrossEntropyLoss()
    for epoch in epochs(args):
        start = perf_counter()
        optimizer.param_groups[0]["lr"] = learning_rate(epoch)
        total = torch.zeros(())
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            loss = criterion(net(scaled(x[rows])), t[rows])
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows)
        seconds = perf_counter() - start
        with torch.inference_mode():
            slices = zip(test_x.split(SLICE), test_t.split(SLICE), strict=True)
            right = sum((net(scaled(a)).argmax(1) == b).sum().item() for a, b in slices)
        Epoch(epoch, seconds, total.item() / len(x), right / len(test_t)).print()


if __name__ == "__main__":
    main()
