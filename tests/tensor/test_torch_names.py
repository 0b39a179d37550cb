"""Names that PyTorch has too: values, dtypes, shapes and gradients, eager and compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor
from mynn.errors import ArgumentError, MynnError, ShapeError
from mynn.tensor import functions
from tests.tensor import test_conversion
from tests.tensor.parity import assert_parity
from tests.torch_db import ops

X = np.array([[0.3, -1.2, 2.0], [1.7, 0.0, -0.4]], np.float32)
W = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7 - 1.5
WHOLE = np.array([[3, -5, 3]])
TIES = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 0.5]], np.float32)
WITH_NAN = np.array([[0.5, np.nan, 1.0, -1.0, 0.0]], np.float32)

CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "transpose": (lambda x: x.transpose(0, 1), (W,)),
    "transpose negative": (lambda x: x.transpose(-1, 0), (W,)),
    "transpose named": (lambda x: x.transpose(dim0=2, dim1=1), (W,)),
    "transpose 0-d": (lambda x: x.sum().transpose(0, -1), (X,)),
    "swapaxes": (lambda x: x.swapaxes(axis0=0, axis1=2), (W,)),
    "permute": (lambda x: x.permute(2, 0, 1), (W,)),
    "permute tuple": (lambda x: x.permute((-1, 0, 1)), (W,)),
    "T": (lambda x: x.T, (X,)),
    "max": (lambda x: x.max(), (TIES,)),
    "max dim": (lambda x: x.max(1), (TIES,)),
    "max keepdim": (lambda x: tuple(x.max(dim=-1, keepdim=True)), (TIES,)),
    "max values": (lambda x: x.max(0).values, (TIES,)),
    "max indices": (lambda x: x.max(0).indices, (TIES,)),
    "max axis": (lambda x: tuple(x.max(axis=0, keepdims=True)), (W,)),
    "max other": (lambda x, y: x.max(y), (X, X[::-1].copy())),
    "max 0-d": (lambda x: tuple(x.sum().max(0)), (X,)),
    "max nan": (lambda x: x.max(1), (WITH_NAN,)),
    "min": (lambda x: x.min(), (TIES,)),
    "min dim": (lambda x: x.min(0), (TIES,)),
    "min keepdim": (lambda x: tuple(x.min(1, True)), (TIES,)),
    "min other": (lambda x, y: x.min(y), (X, X[::-1].copy())),
    "max int": (lambda x: x.max(1), (np.array([[3, -5, 3]], np.int32),)),
    "min uint8": (lambda x: x.min(1), (np.array([[3, 200, 3]], np.uint8),)),
    "amax": (lambda x: x.amax((0, 1)), (TIES,)),
    "amax all": (lambda x: x.amax(), (TIES,)),
    "amax ()": (lambda x: x.amax(()), (TIES,)),
    "amax keepdim": (lambda x: x.amax(dim=1, keepdim=True), (TIES,)),
    "amin axis": (lambda x: x.amin(axis=1), (TIES,)),
    "argmax": (lambda x: x.argmax(dim=1, keepdim=True), (TIES,)),
    "argmax all": (lambda x: x.argmax(), (TIES,)),
    "argmax keepdim": (lambda x: x.argmax(keepdim=True), (TIES,)),
    "argmax 0-d": (lambda x: x.sum().argmax(0), (TIES,)),
    "argmin": (lambda x: x.argmin(-1), (TIES,)),
    "argmin nan": (lambda x: x.argmin(-1), (WITH_NAN,)),
    "argmin least": (lambda x: x.argmin(0), (np.array([5, -(2**63), 7, 2**63 - 1]),)),
    "argmin uint8": (lambda x: x.argmin(), (np.array([5, 0, 255], np.uint8),)),
    "sum": (lambda x: x.sum(dim=(0, 2), keepdim=True), (W,)),
    "sum ()": (lambda x: x.sum(()), (W,)),
    "sum 0-d": (lambda x: x.sum().sum(0), (W,)),
    "sum dtype": (lambda x: x.sum(0, dtype=_dtype(x, "float64")), (W,)),
    "sum uint8": (lambda x: x.sum(), (np.full(300, 255, np.uint8),)),
    "sum int32": (lambda x: x.sum(1), (np.full((2, 3), 2**31 - 1, np.int32),)),
    "sum bool": (lambda x: x.sum(0), (X > 0,)),
    "prod": (lambda x: x.prod(), (X,)),
    "prod dim": (lambda x: x.prod(1), (W,)),
    "prod keepdim": (lambda x: x.prod(dim=-1, keepdim=True), (W,)),
    "prod axis": (lambda x: x.prod(axis=0, keepdims=True), (X,)),
    "prod 0-d": (lambda x: x.sum().prod(0), (W,)),
    "prod 1 zero": (lambda x: x.prod(1), (np.array([[2.0, 0.0, 3.0]]),)),
    "prod 2 zeros": (lambda x: x.prod(1), (np.array([[0.0, 2.0, -0.0, 3.0], [1, 1, 0, 1]]),)),
    "prod nan": (lambda x: x.prod(1), (WITH_NAN,)),
    "prod nothing": (lambda x: x.prod(0), (X[:0],)),
    "prod dtype": (lambda x: x.prod(0, dtype=_dtype(x, "float64")), (W,)),
    "prod int32": (lambda x: x.prod(1), (np.full((2, 3), 2**31 - 1, np.int32),)),
    "prod uint8": (lambda x: x.prod(), (np.full(7, 255, np.uint8),)),
    "prod bool": (lambda x: x.prod(0), (X > 0,)),
    "cumsum": (lambda x: x.cumsum(1), (W,)),
    "cumsum dim": (lambda x: x.cumsum(dim=-1), (W,)),
    "cumsum axis": (lambda x: x.cumsum(axis=0), (W,)),
    "cumsum 0-d": (lambda x: x.sum().cumsum(0), (W,)),
    "cumsum nan": (lambda x: x.cumsum(1), (WITH_NAN,)),
    "cumsum nothing": (lambda x: x.cumsum(1), (X[:0],)),
    "cumsum along nothing": (lambda x: x.cumsum(0), (X[:0],)),
    "cumsum dtype": (lambda x: x.cumsum(0, dtype=_dtype(x, "float64")), (W,)),
    "cumsum int32": (lambda x: x.cumsum(1), (np.full((2, 3), 2**31 - 1, np.int32),)),
    "cumsum uint8": (lambda x: x.cumsum(0), (np.full(300, 255, np.uint8),)),
    "cumsum bool": (lambda x: x.cumsum(0), (X > 0,)),
    "mean": (lambda x: x.mean(-1), (W,)),
    "mean keepdim": (lambda x: x.mean((0, 1), True), (W,)),
    "var": (lambda x: x.var(), (X,)),
    "var dim": (lambda x: x.var(1), (X,)),
    "var unbiased": (lambda x: x.var(unbiased=False), (X,)),
    "var bool": (lambda x: x.var(False), (X,)),
    "var positional": (lambda x: x.var(1, False, True), (X,)),
    "var correction": (lambda x: x.var(dim=0, correction=0, keepdim=True), (X,)),
    "var fraction": (lambda x: x.var((0, 1), correction=0.5), (X,)),
    "std": (lambda x: x.std(axis=1), (X,)),
    "take": (lambda x: x.take(_index(x, [[0, 5], [2, 2]])), (X,)),
    "index_select": (lambda x: x.index_select(1, _index(x, [2, 0, 2])), (X,)),
    "scatter_add": (
        lambda x, y: x.scatter_add(1, _index(x, [[0, 0], [2, 1]]), y),
        (X, TIES[:, 1:].copy()),
    ),
    "scatter_add 0": (
        lambda x, y: x.scatter_add(dim=-2, index=_index(x, [[1, 0, 1]]), src=y),
        (X, TIES[:1]),
    ),
    "scatter_add smaller index": (
        lambda x, y: x.scatter_add(0, _index(x, [[1, 0], [1, 1]]), y),
        (np.arange(6).reshape(2, 3), np.arange(9).reshape(3, 3)),
    ),
    "gather": (lambda x: x.gather(1, _index(x, [[0, 0], [2, 1]])), (X,)),
    "gather 0": (lambda x: x.gather(dim=-2, index=_index(x, [[1, 0, 1], [0, 0, 0]])), (X,)),
    "gather 0-d": (lambda x: x.sum().gather(0, _index(x, [0, 0])), (X,)),
    "take_along_dim": (lambda x: x.take_along_dim(_index(x, [[0], [2]]), 1), (X,)),
    "take_along_dim flat": (lambda x: x.take_along_dim(_index(x, [5, 1])), (X,)),
    "scatter": (
        lambda x, y: x.scatter(1, _index(x, [[0, 1], [2, 1]]), y),
        (X, TIES[:, 1:].copy()),
    ),
    "scatter number": (lambda x: x.scatter(0, _index(x, [[0, 1, 1]]), 7), (X,)),
    "scatter value": (lambda x: x.scatter(0, _index(x, [[0, 1, 1]]), value=7.0), (X,)),
    "scatter add": (lambda x: x.detach().scatter(1, _index(x, [[0, 0]]), 3, reduce="add"), (X,)),
    "scatter multiply": (
        lambda x: x.detach().scatter(0, _index(x, [[1, 0]]), 3, reduce="multiply"),
        (X,),
    ),
    **{
        f"scatter_reduce {how} {own}": (
            lambda x, y, how=how, own=own: x.scatter_reduce(
                1, _index(x, [[0, 0, 1], [2, 2, 2]]), y, how, include_self=own
            ),
            (X, X[::-1].copy() + 1),
        )
        for how in ("sum", "prod", "mean", "amax", "amin")
        for own in (True, False)
    },
    "scatter_reduce zeros": (
        lambda x, y: x.scatter_reduce(1, _index(x, [[0, 0, 1], [2, 2, 2]]), y, "prod"),
        (np.array([[0.0, 2, 3], [1, 2, 0]]), np.array([[1.0, 0, 0], [4, 5, 6]])),
    ),
    "index_add": (lambda x, y: x.index_add(1, _index(x, [2, 2, 0]), y, alpha=2), (X, TIES)),
    "index_copy": (lambda x, y: x.index_copy(1, _index(x, [2, 1, 0]), y), (X, TIES)),
    "index_fill": (lambda x: x.index_fill(0, _index(x, [1]), 4.0), (X,)),
    "index_reduce": (lambda x, y: x.index_reduce(1, _index(x, [2, 2, 0]), y, "amin"), (X, TIES)),
    "index_put": (lambda x: x.index_put((_index(x, [1, 0]),), x[0] * 2), (X,)),
    "put": (lambda x: x.put(_index(x, [[4, 0]]), x[:1, 1:]), (X,)),
    "put added": (lambda x: x.put(_index(x, [4, 4]), x[1, 1:], accumulate=True), (X,)),
    "masked_fill": (lambda x: x.masked_fill(x > 0, -2), (X,)),
    "masked_fill broadcast": (lambda x: x[:1].masked_fill(x > 0, -2.5), (X,)),
    "masked_scatter": (lambda x, y: x.masked_scatter(x > 0, y), (X, TIES)),
    "ger": (lambda x: x[0].ger(x[1]), (X,)),
    "matrix_power": (lambda x: x[:, :2].matrix_power(5), (X,)),
    "matrix_power 0": (lambda x: x[:, :2].matrix_power(0) * x[:, :2], (X,)),
    "moveaxis": (lambda x: x.moveaxis((0, 1), (2, 0)), (W,)),
    "swapdims": (lambda x: x.swapdims(0, -1), (W,)),
    "trace": (lambda x: x[:, 1:].trace(), (X,)),
    "where": (lambda x, y: x.where(x > 0, y), (X, TIES)),
    "where number": (lambda x: x.where(x > 0, 7.0), (X,)),
    "size": (lambda x: x * x.size(-1) + x.size()[0] + x.size(dim=1), (X,)),
    "numel": (lambda x: x * x.numel(), (X,)),
    "unsqueeze": (lambda x: x.unsqueeze(dim=-1), (X,)),
    "squeeze": (lambda x: x.squeeze(dim=0), (X[None],)),
    "squeeze longer": (lambda x: x.squeeze((0, 1)), (X[None],)),
    "flip": (lambda x: x.flip(0, 1), (X,)),
    "flip tuple": (lambda x: x.flip(dims=(0,)) if _torch(x) else x.flip((0,)), (X,)),
    "flatten": (lambda x: x.flatten(start_dim=1), (W,)),
    "broadcast_to": (lambda x: x.broadcast_to(size=(4, 2, 3)), (X,)),
    "clip": (lambda x: x.clip(0, 1), (WITH_NAN,)),
    "clamp": (lambda x: x.clamp(min=0.0), (WITH_NAN,)),
    "clamp max": (lambda x: x.clamp(max=0.5), (WITH_NAN,)),
    "clamp tensors": (lambda x, y, z: x.clamp(y, z), (TIES, TIES[::-1].copy(), TIES)),
    "relu": (lambda x: x.relu(), (WITH_NAN,)),
    "abs": (lambda x: x.abs(), (WITH_NAN,)),
    "sign": (lambda x: x.sign(), (WITH_NAN,)),
    "maximum": (lambda x, y: x.maximum(y), (WITH_NAN, np.zeros((1, 5), np.float32))),
    "minimum": (lambda x, y: x.minimum(y), (WITH_NAN, np.zeros((1, 5), np.float32))),
    "sqrt": (lambda x: x.sqrt(), (np.array([0.0, 4.0], np.float32),)),
    "log": (lambda x: x.log(), (np.array([0.0, 4.0], np.float32),)),
    "pow": (
        lambda x, y: x**y,
        (
            np.array([0.0, 0.0, -1.0, 0.0, 2.0, 1.5], np.float32),
            np.array([0.0, 2.0, 2.0, -1.0, 3.0, -0.5], np.float32),
        ),
    ),
    "pow 0": (lambda x: x**0, (WITH_NAN,)),
    "pow 3": (lambda x: x**3, (WITH_NAN,)),
    "pow half": (lambda x: x**0.5, (np.array([0.0, 4.0], np.float32),)),
    "pow 1.5": (lambda x: x**1.5, (np.array([0.0, 4.0], np.float32),)),
    "exp": (lambda x: x.exp(), (X,)),
    "expm1": (lambda x: x.expm1(), (X,)),
    "log1p": (lambda x: x.abs().log1p(), (X,)),
    "sin": (lambda x: x.sin(), (X,)),
    "cos": (lambda x: x.cos(), (X,)),
    "tanh": (lambda x: x.tanh(), (X,)),
    "erf": (lambda x: x.erf(), (X,)),
    "sigmoid": (lambda x: x.sigmoid(), (X,)),
    "floor": (lambda x: x.floor() + x, (X,)),
    "reshape": (lambda x: x.reshape(3, -1), (X,)),
    "reshape tuple": (lambda x: x.reshape((-1,)), (X,)),
    "detach": (lambda x: x.detach() * x, (X,)),
    "requires_grad": (lambda x: x.detach() if x.requires_grad else x * 0, (WHOLE,)),
    "shape": (lambda x: x * x.shape[1] if x.shape == (2, 3) else x, (X,)),
    "type": (lambda x: x.type("torch.DoubleTensor").type(_dtype(x, "int32")), (X * 9,)),
    "ndim": (lambda x: x * x.ndim, (X,)),
}
# Public names of tensors that PyTorch's tensors have too and that other tests compare, or that are
# meant otherwise.
REASONS = {
    **dict.fromkeys(test_conversion.NAMES, "tests/tensor/test_conversion.py"),
    "backward": "test_backward_takes_the_gradient_first",
    "data": "a tensor that shares the memory",
    "dtype": "one of NumPy's",
    "grad": "test_backward_takes_the_gradient_first",
    "is_leaf": "tests/tensor/test_leaves.py",
    **dict.fromkeys(
        (
            *("grad_fn", "register_hook", "register_post_accumulate_grad_hook"),
            *("retain_grad", "retains_grad"),
        ),
        "tests/tensor/test_hooks.py",
    ),
    **dict.fromkeys(
        (
            *("det", "inverse", "slogdet", "svd", "narrow_copy", "new", "prelu", "hardshrink"),
            "sum_to_size",
        ),
        "tests/functional/test_further_names.py",
    ),
    "item": "test_values_leave_as_pytorchs_do",
    "masked_select": "test_shapes_that_depend_on_values",
    "nonzero": "test_shapes_that_depend_on_values",
    "argwhere": "test_shapes_that_depend_on_values",
    "name": "what errors and printed graphs call it; None in PyTorch",
    "numpy": "a copy, where PyTorch shares the memory",
    "tolist": "test_values_leave_as_pytorchs_do",
    "stride": "tests/tensor/test_conversion.py: test_contiguous_is_that_of_pytorch",
}

# Compared on PyTorch's own samples, in tests/torch_db.
SAMPLED = """
H mH view
addbmm addmm addmv addr argsort baddbmm bincount bmm chunk cummax cummin cumprod diag diag_embed
diagflat diagonal diagonal_scatter dot dsplit expand expand_as fliplr flipud histc hsplit inner kron
kthvalue logcumsumexp mT matmul mm movedim msort mv narrow outer ravel repeat repeat_interleave
reshape_as roll rot90 select select_scatter slice_scatter sort split split_with_sizes t tensor_split
tile topk tril triu unbind unflatten unfold unique unique_consecutive vdot view_as vsplit
"""


def test_every_name_is_compared_or_has_a_reason() -> None:
    torch = pytest.importorskip("torch")
    shared = {name for name in dir(Tensor) if name[0] != "_" and hasattr(torch.Tensor, name)}
    compared = {name.split()[0] for name in CASES} - {"pow"} | {*SAMPLED.split()}
    in_place = {name for name in shared if name.endswith("_")}
    sampled = {op.name for op in ops.entries()} | functions.NAMES  # tests/torch_db
    assert shared - in_place - compared - sampled == REASONS.keys() - sampled


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.masked_select(x > 0),
        lambda x: x.masked_select(x[0] > 0),
        lambda x: (x > 0).nonzero(),
        lambda x: (x > 0).nonzero(as_tuple=True)[1],
        lambda x: (x[0, 0] > 0).nonzero(),
        lambda x: (x > 0).argwhere(),
    ],
)
def test_shapes_that_depend_on_values(call: Any) -> None:
    torch = pytest.importorskip("torch")
    expected, got = call(torch.tensor(X)), call(Tensor(X))
    assert got.shape == tuple(expected.shape)
    np.testing.assert_array_equal(got.numpy(), expected.numpy())


def test_backward_takes_the_gradient_first() -> None:
    torch = pytest.importorskip("torch")
    grads = []
    for make in (
        lambda: Tensor(X, requires_grad=True),
        lambda: torch.tensor(X, requires_grad=True),
    ):
        x = make()
        weights = x.detach() * 3
        (x * x).backward(weights)
        (x * x).backward(gradient=weights)
        grads.append(x.grad.numpy())
    np.testing.assert_allclose(*grads, rtol=1e-6)


def test_type_names_the_class() -> None:
    torch = pytest.importorskip("torch")
    for dtype in ("float32", "float64", "int32", "int64", "uint8", "bool"):
        ours, theirs = Tensor(np.ones(2, dtype)), torch.ones(2, dtype=getattr(torch, dtype))
        assert ours.type().removeprefix("mynn.") == theirs.type().removeprefix("torch.")
        assert Tensor(X).type(theirs.type()).dtype == dtype


def test_values_leave_as_pytorchs_do() -> None:
    torch = pytest.importorskip("torch")
    for values in (X, WHOLE, X > 0, np.float32(0.25)):
        ours, theirs = Tensor(values), torch.tensor(values)
        assert ours.tolist() == theirs.tolist()
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
        if values.ndim:
            assert len(ours) == len(theirs)
            assert [row.tolist() for row in ours] == [row.tolist() for row in theirs]
            ours, theirs = ours[0, 0], theirs[0, 0]
        assert type(ours.item()) is type(theirs.item())
        assert ours.item() == theirs.item()
        with pytest.raises(TypeError):
            len(ours)


def _torch(x: Any) -> bool:
    return type(x).__module__.startswith("torch")


def _dtype(x: Any, name: str) -> Any:
    torch = pytest.importorskip("torch")
    return getattr(torch, name) if _torch(x) else name


def _index(x: Any, values: Any) -> Any:
    torch = pytest.importorskip("torch")
    return torch.tensor(values) if _torch(x) else np.array(values)


@pytest.mark.one_in(3)
@pytest.mark.filterwarnings("ignore:index_reduce", "ignore:The reduce argument")
@pytest.mark.parametrize("name", CASES)
def test_means_what_pytorch_means(name: str) -> None:
    function, arrays = CASES[name]
    assert_parity(function, arrays)


def test_numpy_transpose_reverses() -> None:
    assert Tensor(W).transpose().shape == (4, 3, 2)
    assert Tensor(W).T.shape == (4, 3, 2)


def test_one_value_has_no_unbiased_variance() -> None:
    with pytest.warns(UserWarning, match="var: 1 values with correction=1"):
        assert np.isnan(Tensor([1.0]).var().item())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: x.transpose((0, 1)), "transpose: it exchanges two axes.*permute"),
        (lambda x: x.transpose(0, 1, 2), "permute takes a whole order of the 2 axes"),
        (lambda x: x.max((0, 1)), r"max: dim must be one axis.*amax"),
        (lambda x: x.min(keepdim=True), r"min: keepdim needs dim; write amin"),
        (lambda x: x.sum(dim=0, axis=1), "sum: dim=0 and axis=1 are two names"),
        (lambda x: x.unsqueeze(), r"unsqueeze: dim is missing"),
        (lambda x: x.var(unbiased=False, correction=1), "unbiased and correction say the same"),
        (lambda x: x.clamp(), "clip: give min, max, or both"),
        (lambda x: x.sum(1.5), "sum: an axis must be a whole number or a tuple of them, it is 1.5"),
        (lambda x: x.amax("rows"), "amax: an axis must be a whole number.*'rows'"),
        (lambda x: x.size(2), "size: axis 2 is out of range"),
        (lambda x: x.scatter_add(0, np.zeros((3, 3), np.int64), x), "scatter_add: index"),
        (lambda x: x.scatter_add(0, np.zeros((1, 3), np.int64), x.astype(int)), "src is int64"),
    ],
)
def test_refusals(call: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(MynnError, match=message):
        call(Tensor(X))


def test_size_of_a_single_value() -> None:
    assert Tensor(1.0).size() == ()
    with pytest.raises(ShapeError, match="no extents"):
        Tensor(1.0).size(0)


def test_scatter_add_holds_indices_to_the_range() -> None:
    with pytest.raises(IndexError, match=r"index 2 at \(0, 1\) is out of range for axis 0"):
        Tensor(X).scatter_add(0, [[0, 2, 1]], X)


def test_a_compiled_function_returns_the_named_tuple() -> None:
    result = mynn.compile(lambda x: x.max(1))(TIES)
    assert result._fields == ("values", "indices")
    np.testing.assert_array_equal(result.indices, [1, 0])


def test_argument_error_of_both_spellings() -> None:
    with pytest.raises(ArgumentError):
        Tensor(X).mean(0, axis=1)
