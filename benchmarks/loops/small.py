"""Small calls from Python: sums of matrices, new networks, and what was done before once more."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.loops.library import Library, Program
from benchmarks.works import Array, data, work_named


def add(library: Library, times: int) -> Program:
    """[32, 16] + [32, 16], so many times before the result is looked at."""
    x, y = np.random.default_rng(6).standard_normal((2, 32, 16)).astype(np.float32)
    x, y = library.from_numpy(x), library.from_numpy(y)

    def one() -> Array:
        return (x + y).numpy()

    def chain() -> Array:
        z = x
        for _ in range(times):
            z = z + y
        return z.numpy()

    return Program(one if times == 1 else chain)


def _one_batch(name: str) -> tuple[Array, ...]:
    work = work_named(name)
    return tuple(array[: work.batch].copy() for array in data(work))


def _training(library: Library, name: str) -> tuple[Any, Any]:
    """A new network of a work, and a function that trains it."""
    work = work_named(name)
    net = networks.sequential(library.nn, work)
    optimizer = library.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    criterion = library.nn.CrossEntropyLoss()

    def step(x: Any, t: Any) -> Any:
        optimizer.zero_grad()
        loss = criterion(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    return net, step


def new(library: Library, name: str) -> Program:
    """The first step of a new network, of an architecture that was trained before."""
    batch, size = _one_batch(name), work_named(name).batch
    made: list[Any] = []

    def before() -> None:
        made[:] = _training(library, name)
        library.equal(made[0])

    def step() -> float:
        return library.fitter(made[1], size)(batch, 1)

    return Program(step, before=before, net=lambda: made[0])


def new_eager(library: Library, name: str) -> Program:
    """The same without `fit`: forward, backward and update, line by line."""
    batch = tuple(map(library.from_numpy, _one_batch(name)))
    made: list[Any] = []

    def before() -> None:
        made[:] = _training(library, name)
        library.equal(made[0])

    def step() -> float:
        return made[1](*batch).item()

    return Program(step, before=before, net=lambda: made[0])


def again_fit(library: Library) -> Program:
    """One step of W3 by the call that trained it before."""
    batch = _one_batch("W3")
    net, step = _training(library, "W3")
    library.equal(net)
    fit = library.fitter(step, len(batch[0]))
    return Program(lambda: fit(batch, 1), net=lambda: net)


def again_predict(library: Library) -> Program:
    """A batch through W3 by the call that predicted before."""
    x, _ = _one_batch("W3")
    predict = library.predictor(library.equal(networks.sequential(library.nn, work_named("W3"))))
    return Program(lambda: predict(x))
