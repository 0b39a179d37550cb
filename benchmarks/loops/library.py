"""What a loop needs of a library, and what it is once it can run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.works import Array


@dataclass(frozen=True)
class Library:
    """The names by which a loop is written, the same ones for mynn and PyTorch.

    `fitter` and `predictor` take a training step or a network, and make what runs it over data in
    the way of the library: `fit(data, epochs)` gives the mean loss of the last epoch,
    `predict(x)` an array. `stepper` is `predictor` for a network that keeps state of its own.
    `call` makes of a function of arrays without gradients what is called often.
    """

    nn: Any
    optim: Any
    from_numpy: Callable[[Array], Any]
    stack: Callable[[list[Any]], Any]
    no_grad: Callable[[], Any]
    seed: Callable[[int], Any]
    fitter: Callable[[Callable[..., Any], int], Callable[[tuple[Array, ...], int], float]]
    predictor: Callable[[Any], Callable[[Array], Array]]
    stepper: Callable[[Any], Callable[[Array], Array]]
    call: Callable[[Callable[..., Any]], Callable[..., Any]]

    def equal(self, net: Any, seed: int = 7) -> Any:
        """The network with weights that are the same in every library."""
        start = {name: self.from_numpy(w) for name, w in networks.weights(net, seed).items()}
        net.load_state_dict({**net.state_dict(), **start})
        return net


@dataclass(frozen=True)
class Program:
    """A loop that can run.

    `step` is what is timed, once over; it returns what is compared, in one structure or another of
    numbers, arrays and tensors. `before`, if there is one, precedes each step and is not timed.
    `net` gives the network whose parameters are compared too.
    """

    step: Callable[[], Any]
    before: Callable[[], Any] | None = None
    net: Callable[[], Any] = lambda: None

    def once(self) -> Any:
        """A step with what precedes it."""
        if self.before is not None:
            self.before()
        return self.step()

    def timed(self, steps: int) -> float:
        """Seconds of so many steps."""
        step, before = self.step, self.before
        if before is None:
            start = perf_counter()
            for _ in range(steps):
                step()
            return perf_counter() - start
        total = 0.0
        for _ in range(steps):
            before()
            start = perf_counter()
            step()
            total += perf_counter() - start
        return total

    def results(self, steps: int) -> list[Array]:
        """What the first steps give, and all changes of the parameters in one array."""
        found = [array for _ in range(steps) for array in _arrays(self.once())]
        net = self.net()
        if net is None:
            return found
        start = networks.weights(net)
        new = {name: _arrays(parameter)[0] for name, parameter in net.named_parameters()}
        return [*found, np.concatenate([(new[name] - start[name]).ravel() for name in start])]


def _arrays(result: Any) -> list[Array]:
    if isinstance(result, list | tuple):
        return [array for one in result for array in _arrays(one)]
    if hasattr(result, "detach"):
        result = result.detach().numpy()
    return [np.array(result, np.float64)]
