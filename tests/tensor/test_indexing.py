from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor
from mynn.core import interpreter
from mynn.errors import DTypeError, ShapeError, UsageError
from tests.helpers import graph_of

X = np.arange(2 * 5 * 7, dtype=np.float64).reshape(2, 5, 7)
s = np.s_

INDICES: tuple[Any, ...] = (
    s[0],
    s[-1],
    s[1, 2],
    s[1, -2, 3],
    s[:],
    s[...],
    s[:, 1:4],
    s[:, :, 2],
    s[..., 2],
    s[0, ..., -1],
    s[1, ...],
    s[..., 1:3, :],
    s[:, ::2],
    s[:, 1::3, 5:1:-2],
    s[::-1],
    s[:, ::-1, ::-1],
    s[:, -3:-1],
    s[:, 3:100],
    s[:, -100:2],
    s[:, 4:1],
    s[:, 4:1:-1],
    s[:, 1:4:-1],
    s[5:],
    s[None],
    s[:, None],
    s[None, 0, None, :, None],
    s[..., None],
    s[0, None, ..., 1:2],
    s[1:2, 3, None],
    s[np.int64(1), np.int32(-1)],
    s[[1, 0]],
    s[[-1, 1]],
    s[:, [4, 0, 0]],
    s[:, :, np.array([[0, 6], [3, -7]])],
    s[:, np.array(2)],
    s[::-1, [1, 2], None],
    s[..., np.array([1, 2], np.uint8)],
    s[:, np.zeros((0,), np.int64)],
    s[0:0],
    s[()],
)


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_matches_numpy(index: Any) -> None:
    expected = X[index]
    got = Tensor(X)[index].numpy()
    assert got.shape == expected.shape
    np.testing.assert_array_equal(got, expected)
    traced = interpreter.evaluate(graph_of(lambda x: x[index], X), [X])[0]
    np.testing.assert_array_equal(traced, expected)


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_gradient_goes_back_to_the_places_taken(index: Any) -> None:
    x = Tensor(X, requires_grad=True)
    y = x[index]
    c = np.random.default_rng(0).normal(size=y.shape)
    y.backward(c)
    expected = np.zeros_like(X)
    np.add.at(expected, index, c)
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-13, atol=1e-13)


def test_random_indices_match_numpy() -> None:
    rng = np.random.default_rng(0)

    def entry(extent: int) -> Any:
        kind = rng.integers(4)
        if kind == 0:
            return int(rng.integers(-extent, extent))
        if kind == 1:
            return None
        low, high = (int(n) for n in rng.integers(-extent - 2, extent + 3, 2))
        step = int(rng.choice([-3, -2, -1, 1, 2, 3]))
        return slice(
            low if rng.random() < 0.7 else None, high if rng.random() < 0.7 else None, step
        )

    for _ in range(300):
        index: list[Any] = []
        for extent in X.shape[: int(rng.integers(1, 4))]:
            one = entry(extent)
            index += [None, entry(extent)] if one is None else [one]
        if rng.random() < 0.3:
            index.insert(int(rng.integers(len(index) + 1)), Ellipsis)
        key = tuple(index)
        try:
            expected = X[key]
        except IndexError:
            continue
        np.testing.assert_array_equal(Tensor(X)[key].numpy(), expected, err_msg=repr(key))


def test_tensor_as_index() -> None:
    x = Tensor(X)
    assert x[Tensor(1)].shape == (5, 7)
    np.testing.assert_array_equal(x[Tensor([1, 0]), 2].numpy(), X[[1, 0], 2])


def test_traced_index_counts_from_the_end() -> None:
    index = np.array([-1, 0, -2])
    graph = graph_of(lambda x, i: x.gather_rows(i, 1), X, index)
    np.testing.assert_array_equal(interpreter.evaluate(graph, [X, index])[0], np.take(X, index, 1))


def test_scatter_add_sums_what_meets() -> None:
    x = Tensor(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    y = x.scatter_rows([1, -1, 1], axis=0, extent=4)
    assert y.tolist() == [[0, 0], [6, 8], [0, 0], [3, 4]]


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (s[2], IndexError, "index 2 is out of range for axis 0 of extent 2"),
        (s[0, -6], IndexError, "index -6 is out of range for axis 1 of extent 5"),
        (
            s[[0, 2]],
            IndexError,
            r"x\[index\]: index 2 at \(1,\) is out of range for axis 0 of extent 2",
        ),
        (s[0, 0, 0, 0], ShapeError, "has 4 entries for 3 axes"),
        (s[..., ...], ShapeError, r"more than one '\.\.\.'"),
        (s[[0, 1], [1, 2, 3]], ShapeError, "shapes .* do not fit together"),
        (s[[0], [5]], IndexError, "index 5 .* axis 1 of extent 5"),
        (s[1.5], DTypeError, "an index holds a float"),
        (s["a"], DTypeError, "an index holds a str"),
        (s[::0], ValueError, "slice step cannot be zero"),
        (s[np.array([True, False, True])], IndexError, "a mask of shape"),
        (s[:, np.ones((2, 5), bool)], IndexError, "a mask of shape"),
    ],
)
def test_errors(index: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        Tensor(X)[index]


def test_empty_axes_cannot_be_taken_from() -> None:
    empty = Tensor(np.zeros(0, np.float32))
    assert empty.gather_rows(np.zeros(0, np.int64)).shape == (0,)
    with pytest.raises(IndexError, match="out of range"):
        empty.gather_rows(np.zeros(1, np.int64))


MASK = np.arange(10).reshape(2, 5) % 3 == 0

# Several arrays, and masks. Where a number stands beside them PyTorch chooses by it first, NumPy
# counts it among the arrays.
ARRAYS: tuple[Any, ...] = (
    s[[0, 1, 1], [4, 0, -1]],
    s[[0, 1], [1, 2], [3, -1]],
    s[[[0], [1]], [2, 0, 0]],
    s[:, [4, 0], [1, 6]],
    s[[1, 0], :, [1, 6]],
    s[[1, 0], 1:3, [1, 6]],
    s[None, [1, 0], [2, 2], ..., None],
    s[0:2, [[4], [0]], [1, 6, 3]],
    s[:, np.zeros(0, np.int64), [3]],
    s[MASK],
    s[MASK, 2],
    s[MASK, [3, 1, 0, 6]],
    s[:, np.arange(5) > 2],
    s[..., np.arange(7) % 2 == 0],
    s[[0, 1, 0], np.arange(5) > 1],
    s[X > 30],
    s[np.zeros((2, 5), bool)],
    s[True],
    s[False],
)


@pytest.mark.parametrize("index", ARRAYS, ids=repr)
def test_arrays_and_masks_match_torch(index: Any) -> None:
    torch = pytest.importorskip("torch")
    entries = index if isinstance(index, tuple) else (index,)
    theirs = tuple(torch.tensor(e) if isinstance(e, np.ndarray | list) else e for e in entries)
    a, b = torch.tensor(X, requires_grad=True), Tensor(X, requires_grad=True)
    expected, got = a[theirs], b[index]
    assert got.shape == tuple(expected.shape)
    np.testing.assert_array_equal(got.numpy(), expected.detach().numpy())
    traced = interpreter.evaluate(graph_of(lambda x: x[index], X), [X])[0]
    np.testing.assert_array_equal(traced, got.numpy())
    c = np.asarray(np.random.default_rng(0).normal(size=got.shape))
    expected.backward(torch.from_numpy(c))
    got.backward(c)
    assert b.grad is not None
    np.testing.assert_allclose(b.grad.numpy(), a.grad.numpy(), rtol=1e-13)
    a, b = torch.tensor(X), Tensor(X)
    a[theirs], b[index] = torch.from_numpy(c), c
    np.testing.assert_array_equal(b.numpy(), a.numpy())
    a[theirs], b[index] = -1, -1
    np.testing.assert_array_equal(b.numpy(), a.numpy())


def test_indices_without_axes_choose_first() -> None:
    """As numbers do, so that the axes of the others stand where they stood."""
    x, one, several = Tensor(X), np.array(1), np.array([1, 6, 3])
    expected = X[1][:, several]
    for index in (1, one, Tensor(one)):
        np.testing.assert_array_equal(x[index, :, several].numpy(), expected)
    graph = graph_of(lambda x, i: x[i, :, several], X, one)
    np.testing.assert_array_equal(interpreter.evaluate(graph, [X, one])[0], expected)
    with mynn.eager("tape"):
        np.testing.assert_array_equal((x * 1)[Tensor(one), :, several].numpy(), expected)
    y = Tensor(X)
    y[Tensor(one), :, several] = 0
    assert not y[1, :, [1, 6, 3]].value.any()
    assert (y.value == 0).sum() == (X == 0).sum() + 15


def test_masks_in_a_trace_say_what_to_use() -> None:
    with pytest.raises(UsageError, match=r"mynn\.where"):
        graph_of(lambda x: x[x > 3], X)
    for method in ("nonzero", "argwhere"):
        with pytest.raises(UsageError, match=r"mynn\.where"):
            graph_of(lambda x, name=method: getattr(x, name)(), X)
    with pytest.raises(UsageError, match=r"mynn\.where"):
        graph_of(lambda x: x.masked_select(x > 3), X)


def test_entries_that_a_loop_goes_over_are_views() -> None:
    """On the tape as at once: the same memory by the same steps, also of views."""
    whole = mynn.arange(36.0)
    for x in (whole, whole.reshape(9, 4), whole.reshape(4, 9).T, whole.reshape(9, 2, 2)[:, 1:]):
        with mynn.eager("tape"):
            found = list(x)
        with mynn.eager("at once"):
            wanted = [x[i] for i in range(len(x))]
        for one, other in zip(found, wanted, strict=True):
            assert one.tolist() == other.tolist()
            assert one._view is not None
            assert other._view is not None
            assert one._view.base is other._view.base
            assert one._view.steps == other._view.steps
        found[8] += 1.0
        assert found[8].tolist() == wanted[8].tolist()


@pytest.mark.parametrize("mode", ["at once", "tape"])
def test_slices_whose_ends_are_tensors(mode: str) -> None:
    """They are looked at anew in each call: the third and later ones gave the rows of the first."""
    data = np.arange(60.0, dtype=np.float32).reshape(30, 2)
    with mynn.eager(mode):
        x = mynn.tensor(data)
        grown = mynn.tensor(data, requires_grad=True)
        for number in (7, 3, 12, 0, 20, 5):
            at = mynn.tensor(number)
            assert np.array_equal(x[at : at + 4].numpy(), data[number : number + 4])
            assert np.array_equal(x[-at - 1 :, 1:].numpy(), data[-number - 1 :, 1:])
            part = mynn.stack([x[i : i + 3] for i in mynn.tensor([number, 1, number + 2])])
            assert np.array_equal(part.numpy()[2], data[number + 2 : number + 5])
            grown.grad = None
            grown[at : at + 2].sum().backward()
            want = np.zeros_like(data)
            want[number : number + 2] = 1
            assert np.array_equal(grown.grad.numpy(), want)


def test_counting_with_integers_on_a_tape() -> None:
    """Integers without axes are counted with at once; where they wait themselves, on the tape."""
    with mynn.eager("tape"):
        total = mynn.tensor(0)
        for number in range(6):
            count = mynn.tensor([number, 2, 5]).sum()
            total = total + count * 2 - number % 2
            i = mynn.tensor(number)
            assert int(i + 1) == number + 1
            assert int(10 - i) == 10 - number
            assert int(i // 2 + i % 2) == number // 2 + number % 2
            assert (i * 3).dtype == mynn.int64
            assert i + 1.5 == number + 1.5
        assert int(total) == sum(2 * (n + 7) - n % 2 for n in range(6))
