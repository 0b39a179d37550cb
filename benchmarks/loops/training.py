"""The loop that PyTorch's tutorials begin with, eager, in every library."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.loops.library import Library, Program
from benchmarks.works import Array, data, work_named

LR, MOMENTUM = 0.01, 0.9
RESNET_BATCH = 32
# Steps of a pass over the images, which is one call of `fit`.
IMAGE_STEPS = 4


def _images() -> tuple[Array, Array]:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((IMAGE_STEPS * RESNET_BATCH, 3, 32, 32)).astype(np.float32)
    return x, rng.integers(0, 10, len(x))


def _start(library: Library, name: str) -> tuple[Any, tuple[Array, Array], int]:
    """The network at its first weights, the data, and the samples of a batch."""
    if name == "resnet20":
        return library.equal(networks.resnet20(library.nn)), _images(), RESNET_BATCH
    work = work_named(name)
    return library.equal(networks.sequential(library.nn, work)), data(work), work.batch


def images(library: Library, network: Callable[[Any], Any]) -> Program:
    """A pass over images."""
    net, data = library.equal(network(library.nn)), _images()
    optimizer = library.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM)
    criterion = library.nn.CrossEntropyLoss()

    def step(x: Any, t: Any) -> Any:
        optimizer.zero_grad()
        loss = criterion(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    fit = library.fitter(step, RESNET_BATCH)
    return Program(lambda: fit(data, 1), net=lambda: net)


def loop(library: Library, name: str, look_first: bool = False) -> Program:
    """A step, its loss looked at when everything is done, or before `backward`."""
    net, arrays, batch = _start(library, name)
    parts = [np.split(array, len(array) // batch) for array in arrays]
    batches = cycle([tuple(map(library.from_numpy, pair)) for pair in zip(*parts, strict=True)])
    optimizer = library.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM)
    criterion = library.nn.CrossEntropyLoss()

    def step() -> float:
        x, t = next(batches)
        optimizer.zero_grad()
        loss = criterion(net(x), t)
        loss.backward()
        optimizer.step()
        return loss.item()

    def looking_first() -> float:
        x, t = next(batches)
        optimizer.zero_grad()
        loss = criterion(net(x), t)
        value = loss.item()
        loss.backward()
        optimizer.step()
        return value

    return Program(looking_first if look_first else step, net=lambda: net)
