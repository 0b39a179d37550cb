"""LeNet on MNIST, trained in native code: `python -m examples.mnist.lenet --threads 2`.

The images stay bytes in memory; the step itself scales those of its batch.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np

import mynn
from examples.mnist.data import DEVIATION, MEAN, Digits, load_bytes
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
from mynn import nn, optim


class LeNet(nn.Module):
    """Images [N, 28, 28] uint8 -> scores [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        first, second = CHANNELS
        self.layers = nn.Sequential(
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

    def forward(self, images: mynn.Tensor) -> mynn.Tensor:
        """Scale the bytes, then the layers."""
        x = (images.astype(np.float32) / 255 - MEAN) / DEVIATION
        return self.layers(x.reshape(-1, 1, 28, 28))


def accuracy_of(net: Callable[[np.ndarray], np.ndarray], digits: Digits) -> float:
    """The share of the digits that are told apart."""
    scores = mynn.predict(net, digits.x, batch_size=SLICE)
    return float((scores.argmax(axis=1) == digits.t).mean())


def main() -> None:
    """Train, print a line an epoch."""
    args = arguments(__doc__)
    train, test = load_bytes("train"), load_bytes("t10k")
    mynn.manual_seed(args.seed)
    net = LeNet()
    optimizer = optim.SGD(net.parameters(), lr=learning_rate(1), momentum=MOMENTUM)
    criterion = nn.CrossEntropyLoss()

    @mynn.compile(threads=args.threads)
    def step(images: mynn.Tensor, t: mynn.Tensor) -> mynn.Tensor:
        loss = criterion(net(images), t)
        loss.backward()
        optimizer.step()
        return loss

    predict = mynn.compile(net, threads=args.threads)
    for epoch in epochs(args):
        start = perf_counter()
        optimizer.lr = learning_rate(epoch)
        order = args.seed + epoch
        history = mynn.fit(step, train, batch_size=BATCH, seed=order, verbose=False)
        seconds = perf_counter() - start
        accuracy = accuracy_of(predict, test)
        Epoch(epoch, seconds, float(history["loss"][-1]), accuracy).print()


if __name__ == "__main__":
    main()
