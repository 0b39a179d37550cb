"""Both executors go through the rows in the order that the reference says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mynn
from mynn.train.engine import executor_for
from mynn.train.plan import load, plan
from tests.train.reference import backends, shuffle_python


@pytest.mark.one_in(3)
@backends
@pytest.mark.parametrize("rows", [1, 2, 3, 8, 200])
def test_orders(backend: str, rows: int) -> None:
    """Three epochs for several seeds, with a last batch that is smaller where rows are left."""
    rng = np.random.default_rng(rows)
    place, seen = mynn.Tensor(0), mynn.Tensor(np.zeros(rows, np.int64))

    def step(x: mynn.Tensor) -> mynn.Tensor:
        seen.assign(seen.scatter_add(0, place + np.arange(x.shape[0]), x))
        place.assign(place + x.shape[0])
        return x.sum().astype("float32")

    compiled = mynn.compile(step, backend=backend)
    arguments, arrays = load(np.arange(rows), check_finite=False)
    run = plan(compiled, arguments, arrays, lambda _: None, 3, check_finite=False)
    for seed in (0, 1, 2**64 - 1, *map(int, rng.integers(0, 2**63, 3))):
        executor = executor_for(replace(run, epochs=3, shuffle=True))
        executor.seed(seed)
        order, random = list(range(rows)), seed
        for _ in range(3):
            place.assign(0)
            seen.assign(np.zeros(rows, np.int64))
            executor.advance(run.batches)
            random = shuffle_python(order, random)
            assert seen.tolist() == order
            cursor = executor.cursor()
            assert (cursor.order.tolist(), cursor.random) == (order, random)
        executor.finish()
