"""Calls with any number of rows: `mynn.compile(function, dynamic=True)`."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.core.types import Array
from mynn.errors import ArgumentError, IndexRangeError
from mynn.runtime.store import STORE

X: Array = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
T: Array = np.random.default_rng(1).integers(0, 4, 40)


def network() -> nn.Module:
    mynn.manual_seed(0)
    layers = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4)
    return nn.Sequential(*layers).eval()


def codes() -> int:
    return sum(info.kind == "program" for info in STORE.infos())


def test_a_program_for_each_size_of_batches() -> None:
    net = network()
    predict = mynn.compile(net, dynamic=True)
    STORE.clear()
    expected = net(mynn.tensor(X)).detach().numpy()
    for rows in [*range(1, 41), *range(40, 0, -3)]:
        found = predict(X[:rows])
        assert found.shape == (rows, 4)
        np.testing.assert_allclose(found, expected[:rows], rtol=1e-4, atol=1e-5)
    assert codes() <= 11  # one row, up to 2, 3, 4, 6 .. 48


def test_a_row_is_the_same_bits_whatever_stands_beside_it() -> None:
    predict = mynn.compile(network(), dynamic=True)
    whole = predict(X[:32])
    for rows in range(25, 32):
        np.testing.assert_array_equal(predict(X[:rows]), whole[:rows])


def test_sums_results_in_any_form_and_new_weights() -> None:
    net = network()

    def measured(x: Any, t: Any) -> dict[str, Any]:
        scores = net(x)
        loss = nn.functional.cross_entropy(scores, t)
        return {"loss": loss, "best": scores.argmax(1), "parts": (scores.T, scores.mean(0))}

    dynamic, plain = (mynn.compile(measured, dynamic=d) for d in (True, False))
    for rows in (3, 7, 12, 8, 2):
        found, expected = dynamic(X[:rows], T[:rows]), plain(X[:rows], T[:rows])
        np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-5)
        np.testing.assert_array_equal(found["best"], expected["best"])
        for a, b in zip(found["parts"], expected["parts"], strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    with mynn.no_grad():
        net[3].bias.fill_(5.0)
    np.testing.assert_allclose(
        dynamic(X[:7], T[:7])["loss"], plain(X[:7], T[:7])["loss"], rtol=1e-5
    )


def test_training_steps() -> None:
    found = []
    for dynamic in (True, False):
        net = network().train()
        optimizer = optim.SGD(net.parameters(), lr=0.05)

        def step(x: Any, t: Any, net: Any = net, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), t)
            loss.backward()
            optimizer.step()
            return loss

        compiled = mynn.compile(lambda x, t, step=step: step(x, t), dynamic=dynamic)
        losses = [compiled(X[:rows], T[:rows]) for rows in (5, 6, 9, 16, 13, 40, 3)]
        found.append((losses, [p.numpy() for p in net.parameters()]))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-4)
    for a, b in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_what_cannot_have_one_program_has_several() -> None:
    gram = mynn.compile(lambda x: x @ x.T, dynamic=True)
    for rows in (3, 5, 3):
        np.testing.assert_allclose(gram(X[:rows]), X[:rows] @ X[:rows].T, rtol=1e-5)
    add = mynn.compile(lambda x, y: x.sum(0) + y, dynamic=True)
    np.testing.assert_allclose(add(X[:5], X[0]), X[:5].sum(0) + X[0], rtol=1e-5)
    scaled = mynn.compile(lambda x, s: x * s, dynamic=True)
    np.testing.assert_allclose(scaled(X[:5], np.float32(2)), X[:5] * 2)


def test_a_mode_that_changes_is_seen() -> None:
    net = nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5))
    predict = mynn.compile(net.eval(), dynamic=True)
    first = predict(X[:5])
    net.train()
    assert not np.array_equal(predict(X[:5]), first)
    net.eval()
    np.testing.assert_array_equal(predict(X[:5]), first)


def test_bad_input() -> None:
    net = nn.Embedding(5, 3)
    look = mynn.compile(net, dynamic=True)
    with pytest.raises(IndexRangeError, match=r"index 9 at \(2,\)"):
        look(np.array([0, 1, 9]))
    assert look(np.array([0, 1, 4])).shape == (3, 3)
    with pytest.raises(ArgumentError, match="dynamic"):
        mynn.compile(net, dynamic="yes")


def test_copies_and_the_interpreter() -> None:
    predict = mynn.compile(network(), dynamic=True)
    expected = predict(X[:5])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(predict))(X[:5]), expected)
    slow = mynn.compile(network(), dynamic=True, backend="interpreter")
    np.testing.assert_allclose(slow(X[:5]), expected, rtol=1e-5)


def test_sequences_of_any_length() -> None:
    """One program for each room, with the bits of the exact length where nothing is summed."""
    mynn.manual_seed(0)
    net = nn.GRU(3, 5, batch_first=True)
    x = np.random.default_rng(2).normal(size=(4, 24, 3)).astype(np.float32)
    dynamic, plain = (mynn.compile(net, dynamic=d) for d in (True, False))
    dynamic(x[:, :24])
    STORE.clear()
    for steps in (17, 23, 20, 24, 18):
        found, expected = dynamic(x[:, :steps]), plain(x[:, :steps])
        assert found[0].shape == (4, steps, 5)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)
    assert codes() <= 6  # one for all, and those of the exact lengths


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_training_on_sequences_of_any_length(kind: str) -> None:
    x = np.random.default_rng(2).normal(size=(4, 12, 3)).astype(np.float32)
    t = np.array([0, 1, 2, 1])
    found = []
    for dynamic in (True, False):
        mynn.manual_seed(0)
        layer, head = getattr(nn, kind)(3, 5, batch_first=True), nn.Linear(5, 3)
        optimizer = optim.SGD([*layer.parameters(), *head.parameters()], lr=0.1, momentum=0.9)

        def step(x: Any, t: Any, layer: Any = layer, head: Any = head, o: Any = optimizer) -> Any:
            o.zero_grad()
            loss = nn.functional.cross_entropy(head(layer(x)[0][:, -1]), t)
            loss.backward()
            o.step()
            return loss

        compiled = mynn.compile(lambda x, t, step=step: step(x, t), dynamic=dynamic)
        losses = [compiled(x[:, :steps], t) for steps in (12, 9, 11, 10, 12, 9)]
        found.append((losses, [p.numpy() for p in layer.parameters()]))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    for a, b in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_rows_and_steps_in_turn() -> None:
    mynn.manual_seed(0)
    net = nn.RNN(3, 5, batch_first=True)
    x = np.random.default_rng(2).normal(size=(9, 9, 3)).astype(np.float32)
    dynamic, plain = (mynn.compile(net, dynamic=d) for d in (True, False))
    for rows, steps in ((9, 9), (9, 7), (6, 7), (5, 7), (5, 4), (1, 4), (1, 3), (5, 1)):
        part = x[:rows, :steps]
        for a, b in zip(dynamic(part), plain(part), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
