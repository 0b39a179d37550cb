"""A function is described once for several traces of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import functional as F
from mynn import nn
from mynn.core.graph import format_graph
from mynn.jit import known, likeness, stage
from mynn.jit.compile import compiled_of
from mynn.jit.known import Beside
from tests.jit.test_known import T, X, staged, trainer


@pytest.fixture(autouse=True)
def nothing_is_known() -> None:
    known.KNOWN._families.clear()


def test_both_sizes_of_batches_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A known function is described once, and bound to its state once, for whole batches and the
    last one; what it computes is what fresh traces compute.
    """
    x, t = np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32), np.arange(6) % 3

    def losses() -> Any:
        mynn.manual_seed(3)
        step = trainer(lambda net, x: net(x), nn.Sequential(nn.Linear(6, 3)))
        history = mynn.fit(step, (x, t), batch_size=4, epochs=3, seed=1, verbose=False)
        return history["loss"], step

    expected, _ = losses()
    assert (expected > 0.1).all()
    described: list[Any] = []
    describe = likeness.describe

    def counted(function: Any) -> Any:
        described.append(function)
        return describe(function)

    monkeypatch.setattr(likeness, "describe", counted)
    again, step = losses()
    np.testing.assert_array_equal(again, expected)
    assert len(described) == 1
    compiled = compiled_of(step)
    batches = [(x[:rows], t[:rows]) for rows in (4, 2)]
    joined = compiled.sized().lookup(*batches, lambda staged: None, Beside())
    assert joined is not None
    whole, last = (compiled.program(*batch) for batch in batches)
    assert len({joined.program.code, whole.code, last.code}) == 3


def test_two_sizes_are_of_one_moment() -> None:
    """A value that changes while steps for two sizes are looked up counts from the next look on."""
    slope = [0.5]

    def build() -> Any:
        net = nn.Linear(6, 3)
        return lambda x, t: F.cross_entropy(net(x) * slope[0], t)

    for rows in (X, X[:2]):
        staged(build(), (rows, T[: len(rows)]))
    function, beside = build(), known.Beside()
    trace = lambda: stage.stage(function, (X, T))  # noqa: E731
    first, _ = known.stage(function, (X, T), trace, beside)
    slope[0] = 2.0
    second, _ = known.stage(function, (X[:2], T[:2]), trace, beside)
    for found in (first, second):
        assert "constant 0.5" in format_graph(found.graph)
        assert not found.valid()
    later, _ = known.stage(function, (X, T), trace)
    assert "constant 2.0" in format_graph(later.graph)
