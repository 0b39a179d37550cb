"""Solutions and decompositions of matrices, as primitives: NumPy computes them.

They have gradients, of any order. For the compiler they are loops: solutions, determinants and
Cholesky's factor over columns (`mynn.linalg.elimination`), QR over reflections, eigh and svd over
rotations (`mynn.linalg.orthogonal`). Results of several parts are one array, from which the
functions cut theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mynn.core.failure import OTHER_MATRIX
from mynn.core.primitive import Primitive
from mynn.core.types import Array, Type
from mynn.errors import DataError, DTypeError, ShapeError, UsageError
from mynn.linalg import elimination, orthogonal
from mynn.tensor import apply, as_tensor
from mynn.tensor.checks import require_range
from mynn.trace import tracing


def regular(primitive: Primitive, *tensors: Any, kind: str = "singular") -> Any:
    """The primitive; in native code too it is an error where the matrix has none.

    There finite inputs with a result that is not finite say so.
    """
    result = apply(primitive, *tensors)
    if tracing.compiled() is not None:
        given = [x.tril() if kind == "indefinite" else x for x in tensors]
        wrong = ~result.isfinite().all()
        for x in given:
            wrong = wrong & x.isfinite().all()
        name = f"linalg.{primitive.name}"
        require_range(wrong.detach().astype(np.int32), name, kind, 0, 0)
    return result


def square(name: str, x: Type) -> None:
    """Raise unless a type is of square matrices of floats."""
    floats(name, x)
    if x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"linalg.{name}: takes square matrices [.., N, N], the shape is {x.shape}")


def floats(name: str, x: Type) -> None:
    """Raise unless a type is of matrices of floats."""
    if x.dtype.kind != "f":
        raise DTypeError(f"linalg.{name}: takes floats, not {x.dtype}; convert with .float()")
    if len(x.shape) < 2:
        raise ShapeError(f"linalg.{name}: takes matrices [.., M, N], the shape is {x.shape}")


def _none(rng: np.random.Generator) -> list[Any]:
    return []


def _primitive(
    name: str, infer: Callable[..., Type], numpy: Any, vjp: Any, native: Any
) -> Primitive:
    """A primitive of stacks of matrices, so that those of many examples are one more stack."""

    def decomposed(*arrays: Array, **params: Any) -> Any:
        try:
            return numpy(*arrays, **params)
        except np.linalg.LinAlgError as error:
            raise DataError(f"linalg.{name}: {error}; {OTHER_MATRIX}") from None

    expand = elimination.written_out(native)
    return Primitive(name, infer, decomposed, vjp, _none, expand, batch={})


# -- solutions -------------------------------------------------------------------------------------


def _infer_inv(a: Type) -> Type:
    square("inv", a)
    return a


inv = _primitive(
    "inv",
    _infer_inv,
    np.linalg.inv,
    lambda g, y, a: (-(y.mT @ g @ y.mT),),
    elimination.inv,
)


def _infer_solve(a: Type, b: Type) -> Type:
    square("solve", a)
    if a.shape[:-1] != b.shape[:-1] or a.dtype != b.dtype:
        raise ShapeError(f"linalg.solve: {a} and {b} do not fit")
    return b


def _solve_vjp(g: Any, y: Any, a: Any, b: Any) -> tuple[Any, Any]:
    back = apply(solve, a.mT, g)
    return -(back @ y.mT), back


# a x = b for matrices a [.., N, N] and b [.., N, K]
solve = _primitive("solve", _infer_solve, np.linalg.solve, _solve_vjp, elimination.solve)


def _infer_triangular(a: Type, b: Type, upper: bool, unit: bool) -> Type:
    return _infer_solve(a, b)


def _numpy_triangular(a: Array, b: Array, upper: bool, unit: bool) -> Array:
    """Row by row, from the one that has no unknown beside its own."""
    x = np.array(b)
    n = a.shape[-1]
    for i in range(n - 1, -1, -1) if upper else range(n):
        known = slice(i + 1, n) if upper else slice(0, i)
        x[..., i, :] -= np.einsum("...k,...kj->...j", a[..., i, known], x[..., known, :])
        if not unit:
            x[..., i, :] /= a[..., i, i, None]
    return x


def _triangular_vjp(g: Any, y: Any, a: Any, b: Any, upper: bool, unit: bool) -> tuple[Any, Any]:
    back = apply(solve_triangular, a.mT, g, upper=not upper, unit=unit)
    full = -(back @ y.mT)
    return (full.triu(int(unit)) if upper else full.tril(-int(unit))), back


solve_triangular = _primitive(
    "solve_triangular",
    _infer_triangular,
    _numpy_triangular,
    _triangular_vjp,
    elimination.solve_triangular,
)


def _infer_determinant(name: str) -> Callable[[Type], Type]:
    def infer(a: Type) -> Type:
        square(name, a)
        return a.with_shape(a.shape[:-2])

    return infer


def _spread(value: Any) -> Any:
    return value.unsqueeze(-1).unsqueeze(-1)


def _cofactors(a: Any) -> Any:
    """The derivative of the determinant, also of matrices that have no inverse.

    With a = u s v^T it is det(u v) u diag(the products of all other s) v^T.
    """
    if tracing.compiled() is not None:
        return elimination.cofactors(a)
    n = a.shape[-1]
    parts = apply(svd, a)
    u, s, v = parts[..., :n, :], parts[..., n, :], parts[..., n + 1 :, :]
    others = s.unsqueeze(-2).broadcast_to((*s.shape[:-1], n, n))
    on = as_tensor(np.eye(n, dtype=bool)).broadcast_to(others.shape)
    product = on.choose(1, others).prod(-1)
    turn = apply(det, u) * apply(det, v)
    return _spread(turn) * ((u * product.unsqueeze(-2)) @ v.mT)


det = _primitive(
    "det",
    _infer_determinant("det"),
    lambda a: np.linalg.det(a).astype(a.dtype),
    lambda g, y, a: (_spread(g) * _cofactors(a),),
    elimination.det,
)
sign_of_det = _primitive(
    "slogdet",
    _infer_determinant("slogdet"),
    lambda a: np.linalg.slogdet(a)[0].astype(a.dtype),
    lambda g, y, a: (None,),
    elimination.sign_of_det,
)
log_of_det = _primitive(
    "slogdet",
    _infer_determinant("slogdet"),
    lambda a: np.linalg.slogdet(a)[1].astype(a.dtype),
    lambda g, y, a: (_spread(g) * apply(inv, a).mT,),
    elimination.log_of_det,
)


# -- decompositions --------------------------------------------------------------------------------


def _infer_cholesky(a: Type) -> Type:
    square("cholesky", a)
    return a


def _cholesky_vjp(g: Any, y: Any, a: Any) -> tuple[Any]:
    n = a.shape[-1]
    half = as_tensor(np.tril(np.ones((n, n), a.dtype)) - 0.5 * np.eye(n, dtype=a.dtype))
    inner = (y.mT @ g) * half
    left = apply(solve_triangular, y.mT, inner, upper=True, unit=False)
    both = apply(solve_triangular, y.mT, left.mT, upper=True, unit=False).mT
    return ((both + both.mT) * 0.5,)


# a = y y^T for symmetric positive a; y is lower triangular
cholesky = _primitive(
    "cholesky", _infer_cholesky, np.linalg.cholesky, _cholesky_vjp, elimination.cholesky
)


def _infer_qr(a: Type) -> Type:
    floats("qr", a)
    *leading, m, n = a.shape
    return a.with_shape((*leading, m + n, min(m, n)))


def _numpy_qr(a: Array) -> Array:
    q, r = np.linalg.qr(a)
    return np.concatenate([q, np.swapaxes(r, -1, -2)], -2)


def _qr_vjp(g: Any, y: Any, a: Any) -> tuple[Any]:
    m, n = a.shape[-2:]
    if m < n:
        raise UsageError(
            f"linalg.qr: matrices of {m} rows and {n} columns have no gradient here; it needs as "
            "many rows as columns, or more"
        )
    q, r = y[..., :m, :], y[..., m:, :].mT
    to_q, to_r = g[..., :m, :], g[..., m:, :].mT
    inner = r @ to_r.mT - to_q.mT @ q
    total = to_q + q @ (inner.tril() + inner.tril(-1).mT)
    return (apply(solve_triangular, r, total.mT, upper=True, unit=False).mT,)


# a = q r; q [M, K] above r^T [N, K]
qr = _primitive("qr", _infer_qr, _numpy_qr, _qr_vjp, orthogonal.qr)


def _infer_eigh(a: Type) -> Type:
    square("eigh", a)
    *leading, n, _ = a.shape
    return a.with_shape((*leading, n + 1, n))


def _numpy_eigh(a: Array) -> Array:
    values, vectors = np.linalg.eigh(a)
    return np.concatenate([values[..., None, :], vectors * orthogonal.signs(vectors)], -2)


def _off_diagonal(difference: Any) -> Any:
    """1 / difference, 0 on the diagonal."""
    n = difference.shape[-1]
    on = as_tensor(np.eye(n, dtype=bool)).broadcast_to(difference.shape)
    return on.choose(0, 1 / on.choose(1, difference))


def _eigh_vjp(g: Any, y: Any, a: Any) -> tuple[Any]:
    values, vectors = y[..., 0, :], y[..., 1:, :]
    gaps = _off_diagonal(values.unsqueeze(-2) - values.unsqueeze(-1))
    inner = g[..., 0, :].diag_embed() + gaps * (vectors.mT @ g[..., 1:, :])
    total = vectors @ inner @ vectors.mT
    return ((total + total.mT) * 0.5,)


# a = v diag(w) v^T for symmetric a; w above v, whose signs are those of `orthogonal.signs`
eigh = _primitive("eigh", _infer_eigh, _numpy_eigh, _eigh_vjp, orthogonal.eigh)


def _infer_svd(a: Type) -> Type:
    floats("svd", a)
    *leading, m, n = a.shape
    return a.with_shape((*leading, m + 1 + n, min(m, n)))


def _numpy_svd(a: Array) -> Array:
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    signs = orthogonal.signs(u)
    return np.concatenate([u * signs, s[..., None, :], np.swapaxes(vt, -1, -2) * signs], -2)


def _svd_vjp(g: Any, y: Any, a: Any) -> tuple[Any]:
    m = a.shape[-2]
    u, s, v = y[..., :m, :], y[..., m, :], y[..., m + 1 :, :]
    to_u, to_s, to_v = g[..., :m, :], g[..., m, :], g[..., m + 1 :, :]
    row, column = s.unsqueeze(-2), s.unsqueeze(-1)
    gaps = _off_diagonal(row * row - column * column)
    left, right = u.mT @ to_u, v.mT @ to_v
    inner = (left - left.mT) * gaps * row + column * (right - right.mT) * gaps
    total = u @ (inner + to_s.diag_embed()) @ v.mT
    inverse = 1 / row
    total = total + ((to_u - u @ left) * inverse) @ v.mT
    return (total + (u * inverse) @ (to_v - v @ right).mT,)


# a = u diag(s) v^T; u [M, K] above s [1, K] above v [N, K]; the signs of u are as those of eigh
svd = _primitive("svd", _infer_svd, _numpy_svd, _svd_vjp, orthogonal.svd)
