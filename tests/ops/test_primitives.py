from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mynn import Tensor, check_grads, grad
from mynn.core.graph import verify
from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Type
from mynn.errors import DTypeError, UsageError
from mynn.ops import PRIMITIVES, contraction, elementwise, movement, reduce, scan
from mynn.tensor import apply, as_tensor
from tests.ops.cases import cases, evaluate, graph_of_sample, samples, with_float


def test_names_are_unique_and_samples_exist() -> None:
    names = [primitive.name for primitive in PRIMITIVES]
    assert len(set(names)) == len(names)
    assert all(samples(primitive) for primitive in PRIMITIVES)


@pytest.mark.one_in(3, each="primitive")
@pytest.mark.parametrize(("primitive", "sample"), cases())
def test_shape_rule_is_what_numpy_gives(primitive: Primitive, sample: Sample) -> None:
    expected = primitive.infer(*map(Type.of, sample.arrays), **sample.params)
    value = np.asarray(primitive.numpy(*sample.arrays, **sample.params))
    assert Type(value.shape, value.dtype) == expected
    verify(graph_of_sample(primitive, sample.arrays, sample.params))


@pytest.mark.one_in(3, each="primitive")
@pytest.mark.parametrize(("primitive", "sample"), cases())
def test_inputs_are_not_changed(primitive: Primitive, sample: Sample) -> None:
    before = [array.copy() for array in sample.arrays]
    evaluate(primitive, sample.arrays, sample.params)
    for array, copy in zip(sample.arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.one_in(3, each="primitive")
@pytest.mark.parametrize(("primitive", "sample"), cases())
def test_float32_is_close_to_float64(primitive: Primitive, sample: Sample) -> None:
    wide = evaluate(primitive, with_float(sample, np.float64), sample.params)
    narrow = evaluate(primitive, with_float(sample, np.float32), sample.params)
    if wide.dtype.kind == "f":
        assert narrow.dtype == (wide.dtype if "dtype" in sample.params else np.float32)
        np.testing.assert_allclose(narrow, wide, rtol=2e-5, atol=2e-6)
    else:
        np.testing.assert_array_equal(narrow, wide)


@pytest.mark.one_in(3, each="primitive")
@pytest.mark.parametrize(("primitive", "sample"), cases())
def test_any_strides_will_do(primitive: Primitive, sample: Sample) -> None:
    strided = tuple(_strided(array) for array in sample.arrays)
    expected = evaluate(primitive, sample.arrays, sample.params)
    got = evaluate(primitive, strided, sample.params)
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(got, expected, rtol=1e-14, atol=1e-14)
    else:
        np.testing.assert_array_equal(got, expected)


def _strided(array: Array) -> Array:
    """The same values, read-only, in memory with gaps and in reversed order."""
    wide = np.zeros(tuple(2 * n for n in array.shape), array.dtype)
    view = wide[(..., *(slice(None, None, -2) for _ in array.shape))]
    view[...] = array
    view.flags.writeable = False
    return view


# No gradient flows, by definition.
BLOCKED = {elementwise.stop_gradient}


def _rounds(sample: Sample) -> bool:
    """A cast to float32: finite differences would see the rounding."""
    return sample.params.get("dtype") == np.float32


@pytest.mark.one_in(3, each="primitive")
@pytest.mark.parametrize(("primitive", "sample"), cases(differentiable=True))
def test_derivatives_match_finite_differences(primitive: Primitive, sample: Sample) -> None:
    """Of first and second order; where none are to be had, the gradient is zero or constant."""
    arrays = with_float(sample, np.float64)

    def function(*xs: Any) -> Tensor:
        return apply(primitive, *map(as_tensor, xs), **sample.params)

    if primitive not in BLOCKED and not _rounds(sample):
        check_grads(function, arrays, order=2, rtol=1e-5, atol=1e-6, eps=1e-5)
        return
    (gradient,) = (grad(lambda x: function(x).sum())(x) for x in arrays)
    expected = 0 if primitive in BLOCKED else 1
    assert gradient.dtype == arrays[0].dtype
    np.testing.assert_array_equal(gradient.numpy(), np.full(arrays[0].shape, expected))


@pytest.mark.parametrize("primitive", [p for p in PRIMITIVES if p.vjp is None], ids=repr)
def test_backward_through_what_has_no_gradient(primitive: Primitive) -> None:
    """Comparisons and integers end the flow; nothing is recorded, nothing fails."""
    for sample in samples(primitive):
        x = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in sample.arrays]
        y = apply(primitive, *x, **sample.params)
        assert not y.requires_grad
        with pytest.raises(UsageError):
            y.sum().backward()


ARITHMETIC = (
    *(elementwise.add, elementwise.mul, elementwise.div, elementwise.exp, elementwise.neg),
    *(reduce.sum, reduce.prod, reduce.max, reduce.argmax, scan.cumsum, contraction.matmul),
)


@pytest.mark.parametrize("primitive", ARITHMETIC, ids=repr)
def test_bools_are_no_numbers(primitive: Primitive) -> None:
    sample = samples(primitive)[0]
    bools = [Type.of(array).with_dtype(bool) for array in sample.arrays]
    with pytest.raises(DTypeError, match=r"bool.*\.astype"):
        primitive.infer(*bools, **sample.params)


def _torch_prod(x: Any, axes: tuple[int, ...]) -> Any:
    """PyTorch multiplies along one axis at a time."""
    for axis in reversed(axes):
        x = x.prod(axis)
    return x


# Called with torch, then with the arguments of the primitive.
TORCH: dict[Primitive, Callable[..., Any]] = {
    elementwise.logistic: lambda torch, x: torch.sigmoid(x),
    elementwise.mod: lambda torch, x, y: torch.remainder(x, y),
    elementwise.less: lambda torch, x, y: torch.less(x, y),
    elementwise.equal: lambda torch, x, y: torch.eq(x, y),
    reduce.sum: lambda torch, x, axes: x.sum(axes) if axes else x,
    reduce.prod: lambda torch, x, axes: _torch_prod(x, axes),
    scan.cumsum: lambda torch, x, axis: torch.cumsum(x, axis),
    reduce.max: lambda torch, x, axes: torch.amax(x, axes) if axes else x,
    reduce.min: lambda torch, x, axes: torch.amin(x, axes) if axes else x,
    reduce.argmax: lambda torch, x, axis: torch.argmax(x, axis),
    movement.reshape: lambda torch, x, shape: x.reshape(shape),
    movement.transpose: lambda torch, x, axes: x.permute(axes),
    movement.broadcast_to: lambda torch, x, shape: x.expand(shape),
    movement.flip: lambda torch, x, axes: torch.flip(x, axes),
    movement.concatenate: lambda torch, *xs, axis: torch.cat(xs, axis),
}
SAME_NAME = (
    *("neg", "abs", "sign", "exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tanh", "erf"),
    *("relu", "floor", "add", "sub", "mul", "div", "pow", "maximum", "minimum", "where", "matmul"),
    *("asin", "acos", "atan", "atan2", "sinh", "cosh", "asinh", "acosh", "atanh", "exp2", "log2"),
    *("log10", "erfc", "round"),
)


@pytest.mark.one_in(3, each="primitive")
@pytest.mark.parametrize(
    ("primitive", "sample"), cases(p for p in PRIMITIVES if p in TORCH or p.name in SAME_NAME)
)
def test_values_and_gradients_match_torch(primitive: Primitive, sample: Sample) -> None:
    torch = pytest.importorskip("torch")
    theirs = [torch.from_numpy(np.array(array)) for array in sample.arrays]
    ours = [Tensor(array, requires_grad=array.dtype.kind == "f") for array in sample.arrays]
    for x in theirs:
        x.requires_grad_(x.dtype.is_floating_point)
    if primitive in TORCH:
        expected = TORCH[primitive](torch, *theirs, **sample.params)
    else:
        expected = getattr(torch, primitive.name)(*theirs)
    got = apply(primitive, *ours, **sample.params)
    np.testing.assert_allclose(got.numpy(), expected.detach().numpy(), rtol=1e-12, atol=1e-13)
    if not expected.requires_grad or primitive.vjp is None:
        return
    c = np.random.default_rng(0).normal(size=got.shape)
    expected.backward(torch.from_numpy(np.asarray(c)))
    got.backward(c)
    for a, b in zip(ours, theirs, strict=True):
        if b.requires_grad and a.grad is not None:
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-11, atol=1e-12)
