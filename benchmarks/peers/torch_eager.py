"""PyTorch as it comes: a module, a loss, `backward`, `torch.optim.SGD` (fused, the fastest)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import networks
from benchmarks.layers import Layer, cotangent, images
from benchmarks.loops import LOOPS, Library, Program
from benchmarks.peers import Differentiator, Predictor
from benchmarks.works import Array, Layers, Work, data, initial


def network(work: Work) -> nn.Sequential:
    """The work's network, with PyTorch's own layers, at the initial weights."""
    net = networks.sequential(nn, work)
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


def _fitter(step: Callable[..., Any], batch: int) -> Callable[[tuple[Array, ...], int], float]:
    def fit(data: tuple[Array, ...], epochs: int) -> float:
        batches = list(zip(*(torch.from_numpy(a).split(batch) for a in data), strict=True))
        for _ in range(epochs):
            losses = [(step(*arrays).detach(), len(arrays[0])) for arrays in batches]
        return sum(loss.item() * rows for loss, rows in losses) / sum(n for _, n in losses)

    return fit


def _predictor(net: nn.Module) -> Callable[[Array], Array]:
    net.eval()

    def predict(x: Array) -> Array:
        with torch.inference_mode():
            return net(torch.from_numpy(x)).numpy()

    return predict


def _call(function: Callable[..., Any]) -> Callable[..., Any]:
    def called(*arrays: Any) -> Any:
        given = [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in arrays]
        with torch.inference_mode():
            return function(*given)

    return called


LIBRARY = Library(
    nn=nn,
    optim=torch.optim,
    from_numpy=torch.from_numpy,
    stack=torch.stack,
    no_grad=torch.no_grad,
    seed=torch.manual_seed,
    fitter=_fitter,
    predictor=_predictor,
    stepper=_predictor,
    call=_call,
)


def program(name: str, threads: int = 1, compared: bool = False) -> Program:
    """A loop as it is written."""
    torch.set_num_threads(threads)
    return LOOPS[name].make(LIBRARY, compared)
