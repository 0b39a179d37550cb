"""Us: the public API as a user writes it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

import mynn
from benchmarks import networks
from benchmarks.layers import Layer, cotangent, images
from benchmarks.loops import LOOPS, Library, Program
from benchmarks.peers import Differentiator, Predictor
from benchmarks.works import Array, Layers, Work, data, initial
from mynn import nn, optim


def network(work: Work) -> nn.Sequential:
    """The work's network at the initial weights."""
    net = networks.sequential(nn, work)
    net.load_state_dict(state_dict(net, initial(work)))
    return net


def layers_of(net: nn.Sequential) -> dict[str, nn.Linear | nn.Conv2d]:
    """The layers with parameters by name."""
    kinds = nn.Linear | nn.Conv2d
    return {name: layer for name, layer in net.named_modules() if isinstance(layer, kinds)}


def state_dict(net: nn.Sequential, layers: Layers) -> dict[str, np.ndarray]:
    """Weights and biases of the works as `net.load_state_dict` takes them."""
    state = {}
    for name, (w, b) in zip(layers_of(net), layers, strict=True):
        state[f"{name}.weight"], state[f"{name}.bias"] = w.T if w.ndim == 2 else w, b
    return state


class Trainer:
    """The work, its whole loop compiled by `fit`."""

    def __init__(self, work: Work, threads: int | str = 1) -> None:
        self.work = work
        self.data = data(work)
        self.net = net = network(work)
        self.optimizer = optimizer = optim.SGD(net.parameters(), lr=work.lr, momentum=work.momentum)
        self._fresh = copy.deepcopy(optimizer.state_dict())
        cross_entropy = nn.CrossEntropyLoss()

        @mynn.compile(threads=threads)
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
        self.net.load_state_dict(state_dict(self.net, initial(self.work)))
        self.optimizer.load_state_dict(self._fresh)

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
        return float(history["loss"].mean())

    def weights(self) -> Layers:
        """The trained parameters."""
        found = []
        for layer in layers_of(self.net).values():
            w = layer.weight.numpy()
            found.append((w.T if w.ndim == 2 else w, layer.bias.numpy()))
        return found


def predictor(work: Work, batch: int = 1, threads: int = 1) -> Predictor:
    """A NumPy array of `batch` samples through the compiled network."""
    predict = mynn.compile(network(work), threads=threads)
    return predict, data(work)[0][:batch].copy()


def differentiator(layer: Layer, threads: int = 1) -> Differentiator:
    """The compiled layer and its gradients; its data lies where the program works, as the peers'
    lies in their own arrays."""
    net = layer.make(nn)
    parameters = list(net.parameters())

    @mynn.compile(threads=threads)
    def step(x: mynn.Tensor, c: mynn.Tensor) -> tuple[mynn.Tensor | None, ...]:
        gradient = mynn.grad(lambda x: (net(x) * c).sum())(x)
        y = net(x)
        if parameters:
            (y * c).sum().backward()
        return y, gradient, *(parameter.grad for parameter in parameters)

    x = images(layer)
    arrays = x, cotangent(mynn.predict(net, x).shape)
    program = step.program(*arrays)
    for place, array in zip(program.arguments, arrays, strict=True):
        place[...] = array

    def run() -> tuple[np.ndarray, ...]:
        program.run()
        return tuple(program.outputs)

    return run


def _fitter(step: Callable[..., Any], batch: int) -> Callable[[tuple[Array, ...], int], float]:
    def fit(data: tuple[Array, ...], epochs: int) -> float:
        history = mynn.fit(
            step, data, epochs=epochs, batch_size=batch, shuffle=False, verbose=False
        )
        return float(history["loss"][-1])

    return fit


LIBRARY = Library(
    nn=nn,
    optim=optim,
    from_numpy=mynn.tensor,
    stack=mynn.stack,
    no_grad=mynn.no_grad,
    seed=mynn.manual_seed,
    fitter=_fitter,
    predictor=lambda net: lambda x: mynn.predict(net, x),
    stepper=lambda net: mynn.compile(net.eval()),
    call=mynn.compile,
)


def program(name: str, threads: int = 1, compared: bool = False) -> Program:
    """A loop, eager where it is not `fit` or `predict`; it has the threads of this process.

    Where there is a row for the tape too, each call runs as it comes; otherwise as by default.
    """
    mynn.eager("at once" if "ours-tape" in LOOPS[name].peers else "tape")
    return LOOPS[name].make(LIBRARY, compared)
