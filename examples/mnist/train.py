"""An MLP on MNIST, trained in native code: `python -m examples.mnist.train`."""

from __future__ import annotations

from itertools import pairwise
from time import perf_counter

import mynn
from examples.mnist.data import load
from examples.mnist.job import BATCH, SIZES, Epoch, arguments, epochs, learning_rate
from mynn import nn, optim


def network() -> nn.Sequential:
    """Linear layers with relu in between."""
    parts: list[nn.Module] = []
    for n, m in pairwise(SIZES):
        parts += [nn.Linear(n, m), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def main() -> None:
    """Train, print a line an epoch."""
    args = arguments(__doc__)
    train, test = load("train"), load("t10k")
    mynn.manual_seed(args.seed)
    net = network()
    optimizer = optim.Adam(net.parameters(), lr=learning_rate(1))
    criterion = nn.CrossEntropyLoss()

    @mynn.compile
    def step(x: mynn.Tensor, t: mynn.Tensor) -> mynn.Tensor:
        loss = criterion(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    predict = mynn.compile(net)
    for epoch in epochs(args):
        start = perf_counter()
        optimizer.lr = learning_rate(epoch)
        order = args.seed + epoch
        history = mynn.fit(step, train, batch_size=BATCH, seed=order, verbose=False)
        seconds = perf_counter() - start
        accuracy = (predict(test.x).argmax(axis=1) == test.t).mean()
        Epoch(epoch, seconds, float(history["loss"][-1]), float(accuracy)).print()


if __name__ == "__main__":
    main()
