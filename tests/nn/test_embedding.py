"""Tables of vectors: first values, rows that are held to a norm, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.errors import ArgumentError, DTypeError, IndexRangeError, ShapeError


def test_first_values() -> None:
    mynn.manual_seed(0)
    values = nn.Embedding(400, 50, padding_idx=3).weight.numpy()
    assert not values[3].any()
    rest = np.delete(values, 3, 0)
    assert abs(rest.mean()) < 0.02
    assert abs(rest.std() - 1) < 0.02
    assert abs(np.mean(rest**4) - 3) < 0.15
    bilinear = nn.Bilinear(16, 40, 30)
    for parameter in bilinear.parameters():
        assert np.abs(parameter.numpy()).max() <= 0.25
    assert bilinear.weight.numpy().std() == pytest.approx(0.25 / 3**0.5, rel=0.03)
    weight = nn.Conv3d(8, 20, 3).weight.numpy()
    bound = (8 * 27) ** -0.5
    assert np.abs(weight).max() <= bound
    assert weight.std() == pytest.approx(bound / 3**0.5, rel=0.03)


def test_rows_are_held_to_a_norm() -> None:
    torch = pytest.importorskip("torch")
    table = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32) * 3
    labels = np.array([[0, 2], [2, 4]])
    ours = nn.Embedding(5, 3, max_norm=1.0, _weight=table)
    theirs = torch.nn.Embedding(5, 3, max_norm=1.0, _weight=torch.tensor(table))
    expected = theirs(torch.tensor(labels)).detach().numpy()
    np.testing.assert_allclose(ours(labels).detach().numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(ours.weight.numpy(), theirs.weight.detach().numpy(), rtol=1e-5)
    compiled = nn.Embedding(5, 3, max_norm=1.0, _weight=table)
    np.testing.assert_allclose(mynn.compile(compiled)(labels), expected, rtol=1e-5)
    np.testing.assert_allclose(compiled.weight.numpy(), ours.weight.numpy(), rtol=1e-5)


@pytest.mark.parametrize("sparse", [False, True])
def test_training_moves_the_rows_that_are_used(sparse: bool) -> None:
    layer = nn.Embedding(6, 2, padding_idx=0, sparse=sparse)
    optimizer = optim.SGD(layer.parameters(), lr=0.5)
    before = layer.weight.numpy()

    @mynn.compile
    def step(labels: Any) -> Any:
        optimizer.zero_grad()
        loss = layer(labels).sum()
        loss.backward()
        optimizer.step()
        return loss

    step(np.array([0, 2, 2, 5]))
    expected = before.copy()
    expected[2] -= 1.0
    expected[5] -= 0.5
    np.testing.assert_allclose(layer.weight.numpy(), expected, rtol=1e-6)


def test_tables_that_are_there() -> None:
    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    layer = nn.Embedding.from_pretrained(table)
    assert not layer.weight.requires_grad
    assert layer([2]).tolist() == [[4, 5]]
    bag = nn.EmbeddingBag.from_pretrained(table, freeze=False, mode="sum")
    assert bag.weight.requires_grad
    assert bag([[0, 1], [2, 2]]).tolist() == [[2, 4], [8, 10]]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.Embedding(4, 2)([4]), IndexRangeError, "index 4"),
        (lambda: nn.Embedding(4, 2)([-1]), IndexRangeError, "index -1"),
        (lambda: nn.Embedding(4, 2)([1.0]), DTypeError, "whole numbers"),
        (lambda: nn.Embedding(4, 2, padding_idx=4), ArgumentError, "padding_idx"),
        (lambda: nn.Embedding(0, 0), ArgumentError, "embedding_dim"),
        (lambda: nn.Embedding(4, 2, _weight=np.zeros((2, 2))), ShapeError, "_weight"),
        (lambda: nn.EmbeddingBag(4, 2, mode="median"), ArgumentError, "median"),
        (lambda: nn.EmbeddingBag(4, 2)([1, 2]), ShapeError, "offsets"),
        (lambda: nn.EmbeddingBag(4, 2)([[1, 2]], [0]), ArgumentError, "offsets"),
        (lambda: nn.EmbeddingBag(4, 2)([[1]], None, [[2.0]]), ArgumentError, "per_sample_weights"),
    ],
)
def test_refusals(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
