from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mynn.core import interpreter, kinds
from mynn.core.graph import Graph, Node, apply, constant, input_node
from mynn.core.kinds import kind_of, quietly
from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Type
from mynn.ops import elementwise, movement, reduce
from mynn.tensor.at_once.straight import Straight
from tests.helpers import f32
from tests.ops.cases import cases, graph_of_sample, with_float


def assert_same(got: Array, expected: Array) -> None:
    """The same bits, in the same order in memory."""
    assert type(got) is np.ndarray
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    assert got.tobytes() == expected.tobytes()
    assert got.size < 2 or got.strides == expected.strides


@pytest.mark.one_in(3, each="primitive")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("primitive", "sample"), cases())
def test_kinds_compute_what_the_interpreter_does(
    primitive: Primitive, sample: Sample, dtype: Any
) -> None:
    arrays = with_float(sample, dtype)
    graph = graph_of_sample(primitive, arrays, sample.params)
    (expected,) = interpreter.evaluate_nodes(
        graph.outputs, dict(zip(graph.inputs, arrays, strict=True))
    )
    kind = kind_of(primitive, sample.params, arrays)
    if kind is not None:
        assert kind.type == graph.outputs[0].type
        assert_same(quietly(kind.compute, *arrays), expected)
    assert_same(quietly(Straight(graph).run, arrays)[0], expected)


def test_equal_parameters_that_mean_something_else_are_other_kinds() -> None:
    x = np.ones(1, np.float32)
    kept = [
        kind_of(movement.pad, {"widths": ((1, 0, 0),), "value": value}, [x])
        for value in (0.0, -0.0, 0)
    ]
    signs = []
    for kind in kept:
        assert kind is not None
        signs.append(bool(np.signbit(kind.compute(x)[0])))
    assert signs == [False, True, False]


def test_kinds_are_forgotten_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "MOST", 8)
    monkeypatch.setattr(kinds, "_kinds", {})
    for size in range(1, 40):
        assert kind_of(elementwise.neg, {}, [np.ones(size)]) is not None
        assert len(kinds._kinds) <= 8


def test_numpy_does_not_warn_nor_does_it_stop_to_elsewhere() -> None:
    assert np.isinf(quietly(np.divide, np.ones(2), np.zeros(2))).all()
    with pytest.warns(RuntimeWarning):
        np.divide(np.ones(2), np.zeros(2))


def test_quietly_within_quietly() -> None:
    """As where a signal handler computes in the midst of a call."""

    def outer(x: Array) -> Array:
        return quietly(np.divide, x, np.zeros(2)) + quietly(np.log, -x)

    assert np.isnan(quietly(outer, np.ones(2))).all()
    with pytest.raises(RuntimeError, match="mine"):
        quietly(_raising)


def _raising() -> None:
    raise RuntimeError("mine")


def straight(inputs: tuple[Node, ...], *outputs: Node) -> Any:
    return Straight(Graph(inputs, outputs))


def test_places_are_used_again() -> None:
    x = input_node(f32(3))
    node = x
    for _ in range(50):
        node = apply(elementwise.add, apply(elementwise.tanh, node), x)
    program = straight((x,), node)
    assert len(program._constants) <= 3
    value = np.array([0.1, -2.0, 5.0], np.float32)
    expected = interpreter.evaluate(Graph((x,), (node,)), [value])[0]
    assert_same(program.run([value])[0], expected)


def test_repetitions_are_left_to_numpy_where_the_shape_stays() -> None:
    x, b = input_node(f32(4, 3)), input_node(f32(3))
    wide = apply(movement.broadcast_to, apply(movement.reshape, b, shape=(1, 3)), shape=(4, 3))
    added = straight((x, b), apply(elementwise.add, x, wide))
    assert len(added._steps) == 1
    doubled = straight((x, b), apply(elementwise.add, wide, wide))
    assert len(doubled._steps) == 3
    rng = np.random.default_rng(0)
    for order in ("C", "F"):
        values = [
            np.asarray(rng.normal(size=(4, 3)).astype(np.float32), order=order),  # type: ignore[call-overload]
            rng.normal(size=3).astype(np.float32),
        ]
        known = dict(zip((x, b), values, strict=True))
        for program, node in ((added, (x, wide)), (doubled, (wide, wide))):
            (expected,) = interpreter.evaluate_nodes([apply(elementwise.add, *node)], known)
            assert_same(program.run(values)[0], expected)


def test_what_is_not_used_need_not_be_given() -> None:
    x, y = input_node(f32(2)), input_node(f32(2))
    unused = apply(elementwise.mul, y, y)
    program = straight((x, y), apply(elementwise.neg, x), constant(np.float32(3)))
    assert program.used == (True, False)
    assert unused not in program._outputs
    negated, three = program.run([np.ones(2, np.float32), None])
    assert negated.tolist() == [-1, -1]
    assert three == 3


def test_sums_of_no_axes_stay_arrays() -> None:
    x = input_node(Type((2,), np.dtype(np.float32)))
    total = straight((x,), apply(reduce.sum, x, axes=(0,)))
    (value,) = total.run([np.ones(2, np.float32)])
    assert type(value) is np.ndarray
    assert value.shape == ()
