"""A small network trained 50 times: 5 folds, 10 seeds, 20 epochs of 455 of 569 rows each."""

from __future__ import annotations

from itertools import cycle, product
from typing import Any

import numpy as np

from benchmarks.loops.library import Library, Program
from benchmarks.works import Array

ROWS, FEATURES, HIDDEN = 569, 30, 32
FOLDS, SEEDS, EPOCHS, BATCH, LR = 5, 10, 20, 32, 1e-3
# So many times as many epochs, whose time is that of the native loop alone, nearly.
LONGER = 50

Fold = tuple[Array, Array]


def table() -> Fold:
    """569 rows of 30 numbers, of two classes."""
    rng = np.random.default_rng(8)
    x = rng.standard_normal((ROWS, FEATURES)).astype(np.float32)
    noise = rng.standard_normal(ROWS)
    return x, (x @ rng.standard_normal(FEATURES) + noise > 0).astype(np.int64)


def trainings() -> list[tuple[Fold, int]]:
    """The rows of each training, all but those of a fold, and its seed."""
    x, t = table()
    parts = np.array_split(np.arange(ROWS), FOLDS)
    folds = [np.setdiff1d(np.arange(ROWS), part) for part in parts]
    return [((x[fold], t[fold]), seed) for fold, seed in product(folds, range(SEEDS))]


def _training(library: Library) -> tuple[Any, Any]:
    nn = library.nn
    net = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2))
    optimizer = library.optim.Adam(net.parameters(), lr=LR)

    def step(x: Any, t: Any) -> Any:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    return net, step


def folds(library: Library, compared: bool) -> Program:
    """The next of the 50 trainings, from the library's own weights unless results are compared."""
    turns = cycle(trainings())
    made: list[Any] = []

    def step() -> float:
        data, seed = next(turns)
        library.seed(seed)
        made[:] = _training(library)
        if compared:
            library.equal(made[0], seed)
        return library.fitter(made[1], BATCH)(data, EPOCHS)

    return Program(step, net=lambda: made[0])


def together(library: Library) -> Program:
    """All 50 in one call of `mynn.cross_validate`, which the other libraries have not."""
    import mynn

    data = table()
    parts = np.array_split(np.arange(ROWS), FOLDS)
    cv = [(np.setdiff1d(np.arange(ROWS), part), part) for part in parts]
    given = {"epochs": EPOCHS, "batch_size": BATCH, "shuffle": False}

    def step() -> Array:
        found = mynn.cross_validate(
            lambda: _training(library)[1], data, cv=cv, seeds=range(SEEDS), **given
        )
        return found.metrics["loss"]

    return Program(step)


def epochs(library: Library) -> Program:
    """`LONGER` times the epochs of one training; the network was made before."""
    turns = cycle(trainings())
    made: list[Any] = []

    def before() -> None:
        data, seed = next(turns)
        library.seed(seed)
        made[:] = [*_training(library), data]

    def step() -> float:
        return library.fitter(made[1], BATCH)(made[2], EPOCHS * LONGER)

    return Program(step, before=before, net=lambda: made[0])
