"""PyTorch as it comes: a module, a loss, `backward`, `torch.optim.SGD` (fused, the fastest)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from benchmarks.layers import Layer, cotangent, images
from benchmarks.peers import Differentiator, Predictor
from benchmarks.works import Layers, Pool, Work, data, initial


def network(work: Work) -> nn.Sequential:
    """The work's network, with PyTorch's own layers, at the initial weights."""
    parts: list[nn.Module] = []
    for part in work.front:
        if isinstance(part, Pool):
            parts.append(nn.MaxPool2d(part.size))
        else:
            conv = nn.Conv2d(part.inputs, part.outputs, part.kernel, padding=part.padding)
            parts += [conv, nn.ReLU()]
    if work.front:
        parts.append(nn.Flatten())
    for index, (n, m) in enumerate(work.layers):
        parts.append(nn.Linear(n, m))
        if work.activated(index):
            parts.append(nn.Tanh() if work.activation == "tanh" else nn.ReLU())
    net = nn.Sequential(*parts)
    load(net, work)
    return net


def layers_of(net: nn.Sequential) -> list[nn.Linear | nn.Conv2d]:
    """The layers with parameters."""
    return [layer for layer in net if isinstance(layer, nn.Linear | nn.Conv2d)]


def turned(w: np.ndarray) -> np.ndarray:
    """Between (inputs, outputs) and PyTorch's weight of a fully connected layer; others as is."""
    return w.T.copy() if w.ndim == 2 else w.copy()


def load(net: nn.Sequential, work: Work) -> None:
    """Write the initial weights into `net`."""
    with torch.no_grad():
        for layer, (w, b) in zip(layers_of(net), initial(work), strict=True):
            layer.weight.copy_(torch.from_numpy(turned(w)))
            layer.bias.copy_(torch.from_numpy(b))


def weights_of(net: nn.Sequential) -> Layers:
    """The parameters as the works have them."""
    return [
        (turned(layer.weight.detach().numpy()), layer.bias.detach().numpy().copy())
        for layer in layers_of(net)
    ]


def loss_of(work: Work, y: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """The work's loss."""
    if work.loss == "squares":
        return ((y - t) ** 2).sum() if work.batch == 1 else ((y - t) ** 2).sum(1).mean()
    return nn.functional.cross_entropy(y, t)


def batches_of(work: Work) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The data cut into batches once, so that no step pays for it."""
    x, t = (torch.from_numpy(a) for a in data(work))
    return list(zip(x.split(work.batch), t.split(work.batch), strict=True))


class Trainer:
    """The work in eager PyTorch."""

    def __init__(self, work: Work, threads: int = 1) -> None:
        torch.set_num_threads(threads)
        self.work = work
        self.net = network(work)
        self.batches = batches_of(work)
        self.reset()

    def reset(self) -> None:
        """Back to the initial weights, with no velocity."""
        load(self.net, self.work)
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), lr=self.work.lr, momentum=self.work.momentum, fused=True
        )

    def train(self, epochs: int) -> float:
        """Train; the mean loss of the steps."""
        work, net, optimizer = self.work, self.net, self.optimizer
        losses = []
        for _ in range(epochs):
            for x, t in self.batches:
                optimizer.zero_grad()
                loss = loss_of(work, net(x), t)
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
        return torch.stack(losses).mean().item()

    def weights(self) -> Layers:
        """The trained parameters."""
        return weights_of(self.net)


def predictor(work: Work, batch: int = 1, threads: int = 1) -> Predictor:
    """`batch` samples through the network, without gradients."""
    torch.set_num_threads(threads)
    net = network(work).eval()
    x = torch.from_numpy(data(work)[0][:batch].copy())

    def predict(sample: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return net(sample)

    return predict, x


def differentiator(layer: Layer, threads: int = 1) -> Differentiator:
    """A layer, its output and all gradients."""
    torch.set_num_threads(threads)
    net = layer.make(nn)
    x = torch.from_numpy(images(layer)).requires_grad_()
    c = torch.from_numpy(cotangent(tuple(net(x).shape)))

    def run() -> tuple[torch.Tensor, ...]:
        x.grad = None
        net.zero_grad()
        y = net(x)
        y.backward(c)
        return y.detach(), x.grad, *(parameter.grad for parameter in net.parameters())

    return run
