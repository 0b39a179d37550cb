from __future__ import annotations

import doctest
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor, functional
from mynn.base import notices
from mynn.core.graph import input_node
from mynn.core.types import Type
from mynn.errors import ArgumentError, DataError, DTypeError, ShapeError, UsageError
from mynn.functional import losses
from mynn.trace import tracing

DTYPES = ("float32", "float64")


def test_doctests() -> None:
    assert doctest.testmod(functional).failed == 0
    assert doctest.testmod(losses).failed == 0


@pytest.mark.parametrize("x", [-1e4, -100.0, -1e-3, 0.0, 1e-3, 100.0, 1e4])
def test_extreme_logits(x: float) -> None:
    logits = Tensor(np.float32([[x, 0.0]]), requires_grad=True)
    loss = functional.cross_entropy(logits, [0])
    loss.backward()
    assert loss.item() == pytest.approx(np.logaddexp(0, -x), rel=1e-6)
    assert logits.grad is not None
    p = np.exp(min(x, 0)) / (np.exp(min(x, 0)) + np.exp(-max(x, 0)))
    np.testing.assert_allclose(logits.grad.value, [[p - 1, 1 - p]], atol=1e-6)
    for target in (0.0, 0.25, 1.0):
        logit = Tensor(np.float32([x]), requires_grad=True)
        loss = functional.binary_cross_entropy_with_logits(logit, [target])
        loss.backward()
        assert loss.item() == pytest.approx(np.logaddexp(0, x) - x * target, rel=1e-6, abs=1e-7)
        assert logit.grad is not None
        np.testing.assert_allclose(logit.grad.value, [p - target], atol=1e-6)


def test_infinite_values() -> None:
    inf = np.inf
    masked = functional.cross_entropy([[0.0, -inf, 0.0]], [0])
    assert masked.item() == pytest.approx(np.log(2))
    assert functional.softmax([0.0, -inf], dim=0).tolist() == [1, 0]
    assert functional.logsumexp([-inf, -inf], 0).item() == -inf
    assert functional.logsumexp([inf, 0.0], 0).item() == inf
    assert np.isnan(functional.cross_entropy([[np.nan, 0.0]], [1]).item())
    assert np.isnan(functional.relu([np.nan]).item())


def test_all_ignored_is_nan() -> None:
    assert np.isnan(functional.cross_entropy([[0.0, 1.0]], [7], ignore_index=7).item())


def test_cross_entropy_takes_every_label_dtype() -> None:
    x = np.float32([[1, 2, 3], [0, 0, 1]])
    expected = functional.cross_entropy(x, np.array([2, 0])).item()
    for dtype in ("uint8", "int32", "int64", "uint32"):
        assert functional.cross_entropy(x, np.array([2, 0], dtype)).item() == expected


def test_cross_entropy_is_small() -> None:
    """No more nodes than it takes: labels cost one comparison and one selection an element."""

    def loss(x: Any, t: Any) -> Any:
        return functional.cross_entropy(x, t)

    kinds = [Type((4, 3), np.dtype("float32")), Type((4,), np.dtype("int64"))]
    nodes = [input_node(kind) for kind in kinds]
    with tracing.tracing() as trace:
        result = loss(*map(Tensor.from_node, nodes))
    assert result.node is not None
    graph = mynn.core.graph.Graph(tuple(nodes), (result.node,))
    wide = [n.primitive.name for n in graph.nodes() if n.shape == (4, 3) and n.inputs]
    arithmetic = [name for name in wide if name not in ("broadcast_to", "stop_gradient")]
    assert sorted(arithmetic) == ["equal", "exp", "sub", "where"]
    (check,) = trace.checks
    assert check.inputs == (nodes[1],)
    assert (check.params["name"], check.params["low"], check.params["high"]) == (
        "cross_entropy",
        0,
        2,
    )


@pytest.mark.parametrize(("label", "shown"), [(3, "3"), (-1, "-1")])
def test_labels_out_of_range(label: int, shown: str) -> None:
    with pytest.raises(DataError, match=r"labels must lie in 0\.\.2.*" + shown):
        functional.cross_entropy(np.zeros((2, 3)), [0, label])
    with pytest.raises(DataError, match="nll_loss"):
        functional.nll_loss(np.zeros((2, 3)), [0, label])
    with pytest.raises(DataError, match="one_hot"):
        functional.one_hot([0, label], 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: functional.mse_loss(np.zeros((3, 2)), np.zeros(3)), ShapeError, r"\(3, 2\)"),
        (lambda: functional.mse_loss(np.zeros((0, 2)), np.zeros((0, 2))), DataError, "no values"),
        (lambda: functional.mse_loss([1.0], [1.0], reduction="average"), ArgumentError, "average"),
        (lambda: functional.mse_loss([1j], [1.0]), DTypeError, "complex"),
        (lambda: functional.mse_loss(np.array([None]), [1.0]), DTypeError, "object"),
        (lambda: functional.cross_entropy(np.zeros((3, 2)), [0, 1]), ShapeError, r"\(3,\)"),
        (lambda: functional.cross_entropy(np.zeros((3, 2)), [0.0, 1.0, 1.0]), DTypeError, "int"),
        (lambda: functional.cross_entropy(np.zeros((0, 2)), []), DataError, "no values"),
        (lambda: functional.cross_entropy(1.0, 0), ShapeError, r"\(\)"),
        (
            lambda: functional.cross_entropy(np.zeros((1, 2)), [0], weight=[1.0]),
            ShapeError,
            "weight",
        ),
        (
            lambda: functional.cross_entropy(np.zeros((1, 2)), [0], label_smoothing=2),
            ArgumentError,
            "2",
        ),
        (lambda: functional.dropout([1.0], 1.5), ArgumentError, "1.5"),
        (lambda: functional.dropout([1.0], float("nan")), ArgumentError, "nan"),
        (lambda: functional.gelu([1.0], "erf"), ArgumentError, "erf"),
        (lambda: functional.linear(np.zeros((2, 3)), np.zeros((4, 2))), ShapeError, r"\(4, 2\)"),
        (lambda: functional.where([1, 0], 1.0, 2.0), DTypeError, "bool"),
        (lambda: functional.concatenate([]), ArgumentError, "empty"),
        (lambda: functional.accuracy(np.zeros((2, 1)), [0, 0]), ShapeError, "two"),
        (lambda: functional.accuracy(np.zeros((2, 3)), [0, 0, 0]), ShapeError, "fit"),
        (lambda: functional.softmax(np.zeros((2, 3)), 2), ShapeError, "axis 2"),
    ],
)
def test_bad_input(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_accuracy() -> None:
    scores = np.float32([[3, 1], [0, 1], [2, 5], [1, 0]])
    assert functional.accuracy(scores, [0, 0, 1, 1]).item() == 0.5
    assert functional.accuracy(scores, np.eye(2)[[0, 0, 1, 0]]).item() == 0.75
    assert functional.accuracy(scores.T[None], np.array([[0, 0, 1, 0]])).item() == 0.75


def test_one_hot() -> None:
    assert functional.one_hot([[0, 2]]).tolist() == [[[1, 0, 0], [0, 0, 1]]]
    assert functional.one_hot([1], 2, dtype=np.float32).dtype == np.float32


def test_non_contiguous_and_read_only() -> None:
    x = np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::-1].T
    x.flags.writeable = False
    t = np.array([0, 1, 9, 1, 9, 0, 9, 0, 1, 1, 9, 0])[::2]
    t = np.where(t == 9, 0, t)
    got = functional.cross_entropy(x, t).item()
    assert got == functional.cross_entropy(np.ascontiguousarray(x), t.copy()).item()


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout(dtype: str) -> None:
    x = Tensor(np.full((200, 50), 3.0, dtype), requires_grad=True)
    y = functional.dropout(x, 0.25, generator=mynn.Generator(1))
    kept = y.value != 0
    np.testing.assert_allclose(y.value[kept], 4.0, rtol=1e-6)
    assert y.dtype == dtype
    assert abs(kept.mean() - 0.75) < 0.02
    y.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.value, np.where(kept, 1 / 0.75, 0), rtol=1e-6)
    assert functional.dropout(x, 0.5, training=False) is x
    assert functional.dropout(x, 0.0) is x
    assert not functional.dropout(x, 1.0).value.any()


@pytest.mark.parametrize("shapes", [((3, 1), (3,)), ((3,), (3, 1)), ((2, 3), (3,)), ((2, 3), ())])
def test_mse_loss_of_other_shapes_warns_as_pytorch(
    shapes: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    x, t = (np.random.default_rng(0).normal(size=shape) for shape in shapes)
    with pytest.warns(UserWarning, match="target"):
        expected = torch.nn.functional.mse_loss(torch.tensor(x), torch.tensor(t)).item()
    notices._said.clear()
    with pytest.warns(UserWarning, match=r"mse_loss: the target.*broadcast.*reshape"):
        assert functional.mse_loss(x, t).item() == pytest.approx(expected, rel=1e-12)
    monkeypatch.setenv("MYNN_CHECK", "1")
    with pytest.raises(UsageError, match="mse_loss"):
        functional.mse_loss(x, t)


def test_stack_names_the_tensor_that_differs() -> None:
    with pytest.raises(ShapeError, match=r"stack: tensor 0 .* \(2,\), tensor 2 has \(3,\)"):
        mynn.stack([np.zeros(2), np.zeros(2), np.zeros(3)])
