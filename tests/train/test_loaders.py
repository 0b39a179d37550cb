"""`fit` with loaders: the batches of the arrays that they are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn.utils.data import DataLoader, Subset, TensorDataset
from tests.train.reference import Problem


def trained(data: Any, **options: Any) -> Problem:
    problem = Problem()
    mynn.fit(problem.step, data, epochs=2, verbose=False, **options)
    return problem


@pytest.mark.parametrize("drop_last", [False, True])
def test_a_loader_is_its_arrays(drop_last: bool) -> None:
    x, t = Problem().data
    whole = TensorDataset(x, t)
    rows = [3, 1, 4, 15, 9, 2, 6, 5]
    for loader, arrays in (
        (DataLoader(whole, 8, drop_last=drop_last), (x, t)),
        (DataLoader(Subset(whole, rows), 3, drop_last=drop_last), (x[rows], t[rows])),
    ):
        expected = trained(arrays, batch_size=loader.batch_size, shuffle=False, drop_last=drop_last)
        for a, b in zip(trained(loader).parameters(), expected.parameters(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_orders_come_from_the_seed_or_the_loader() -> None:
    whole = TensorDataset(*Problem().data)

    def run(seed: int | None, generator: int | None) -> Any:
        source = None if generator is None else mynn.Generator(generator)
        loader = DataLoader(whole, 8, shuffle=True, generator=source)
        return [p.tolist() for p in trained(loader, seed=seed).parameters()]

    assert run(3, None) == run(3, None) != run(4, None)
    assert run(None, 3) == run(None, 3) != run(None, 4)
