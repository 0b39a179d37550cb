"""Us: the public API as a user writes it."""

from __future__ import annotations

import numpy as np

import mynn
from benchmarks.peers import Predictor
from benchmarks.works import Layers, Work, data, initial
from mynn import nn, optim


def network(work: Work) -> nn.Sequential:
    """The work's network at the initial weights."""
    parts: list[nn.Module] = []
    for index, (n, m) in enumerate(work.layers):
        parts.append(nn.Linear(n, m))
        if work.activated(index):
            parts.append(nn.Tanh() if work.activation == "tanh" else nn.ReLU())
    net = nn.Sequential(*parts)
    load(net, work)
    return net


def load(net: nn.Sequential, work: Work) -> None:
    """Write the initial weights into `net`."""
    linears = [layer for layer in net if isinstance(layer, nn.Linear)]
    for layer, (w, b) in zip(linears, initial(work), strict=True):
        layer.weight.data[...] = w.T
        layer.bias.data[...] = b


class Trainer:
    """The work, its whole loop compiled by `fit`."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.data = data(work)
        self.net = net = network(work)
        self.optimizer = optimizer = optim.SGD(net.parameters(), lr=work.lr, momentum=work.momentum)
        cross_entropy = nn.CrossEntropyLoss()

        @mynn.compile
        def step(x: mynn.Tensor, t: mynn.Tensor) -> mynn.Tensor:
            y = net(x)
            if work.loss == "squares":
                loss = ((y - t) ** 2).sum() / work.batch
            else:
                loss = cross_entropy(y, t)
            loss.backward()
            optimizer.step()
            return loss

        self._step = step

    def reset(self) -> None:
        """Back to the initial weights, with no velocity."""
        load(self.net, self.work)
        for slot in self.optimizer.slots():
            slot.data[...] = 0

    def train(self, epochs: int) -> float:
        """Train; the mean loss of the steps."""
        history = mynn.fit(
            self._step,
            self.data,
            epochs=epochs,
            batch_size=self.work.batch,
            shuffle=False,
            verbose=False,
        )
        return float(np.mean(history.loss))

    def weights(self) -> Layers:
        """The trained parameters."""
        return [
            (layer.weight.numpy().T.copy(), layer.bias.numpy().copy())
            for layer in self.net
            if isinstance(layer, nn.Linear)
        ]


def predictor(work: Work) -> Predictor:
    """One sample, a NumPy array, through the compiled network."""
    return mynn.compile(network(work)), data(work)[0][:1].copy()
