"""Orthogonal decompositions of small matrices as loops: what is compiled of QR, eigh and svd.

Each takes stacks [.., M, N] of tensors of a trace, and gives what the primitive's NumPy function
gives. A step of QR is a reflection of the whole matrix. A step of the others is N / 2 rotations at
once, of pairs of columns; after N - 1 steps, a sweep, every column has met every other. The sweeps
end where rotations would change nothing.

Sources: G. H. Golub and C. F. Van Loan, "Matrix Computations", 4th edition (2013): Householder's
reflections with the signs of LAPACK, Jacobi's rotations; R. P. Brent and F. T. Luk, "The solution
of singular-value and symmetric eigenvalue problems on multiprocessor arrays" (1985): the order of
the pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.core.types import Array
from mynn.functional.branches import while_loop
from mynn.functional.control import scan
from mynn.linalg.elimination import column_of
from mynn.tensor import as_tensor

# Sweeps at most; a few more than log2 of the digits are enough.
_MOST = 40
# Of the values of a vector that are at least so much of the largest one, the first is positive.
# None of the ratios that vectors have for reasons of symmetry is near.
_LARGE = 0.63


# -- reflections -----------------------------------------------------------------------------------


def qr(a: Any) -> Any:
    """q [M, K] above r^T [N, K]: column by column, what stands below the diagonal is reflected."""
    m, n = a.shape[-2:]
    k = min(m, n)
    leading = a.shape[:-2]
    eye = as_tensor(np.eye(m, k, dtype=a.dtype)).broadcast_to((*leading, m, k))
    if not k or 0 in leading:
        return eye.concatenate([a[..., :k, :].mT], a.ndim - 2)
    numbers = as_tensor(np.arange(m))

    def step(rows: Any, now: Any) -> Any:
        vector, factor = _reflector(column_of(rows, now), numbers, now)
        return _reflected(rows, vector, factor), (vector, factor)

    rows, (vectors, factors) = scan(step, a, as_tensor(np.arange(k)))

    def back(q: Any, found: Any) -> Any:
        return _reflected(q, *found), None

    q, _ = scan(back, eye, (vectors, factors), reverse=True)
    return q.concatenate([rows[..., :k, :].triu().mT], a.ndim - 2)


def _reflected(rows: Any, vector: Any, factor: Any) -> Any:
    """(1 - factor v v^T) rows."""
    along = (vector.unsqueeze(-2) @ rows).squeeze(-2) * factor.unsqueeze(-1)
    return rows - vector.unsqueeze(-1) * along.unsqueeze(-2)


def _reflector(column: Any, numbers: Any, k: Any) -> tuple[Any, Any]:
    """The vector v, 1 at place k, and the factor of the reflection 1 - factor v v^T that makes all
    below place k zero. Where it is already, nothing is reflected.
    """
    here, below = numbers == k, numbers > k
    scale = (numbers >= k).choose(column.abs(), 0).amax(-1)
    scale = (scale > 0).choose(scale, 1).unsqueeze(-1)
    column = column / scale  # so that no square is too large or too small
    first = here.choose(column, 0).sum(-1)
    tail = below.choose(column, 0)
    rest = (tail * tail).sum(-1)
    length = (first * first + rest).sqrt()
    end = (first < 0).choose(length, -length)
    reflects = rest > 0
    factor = reflects.choose((end - first) / reflects.choose(end, 1), 0)
    vector = tail / reflects.choose(first - end, 1).unsqueeze(-1)
    return here.choose(1, vector), factor


# -- rotations -------------------------------------------------------------------------------------


def _rotation(p: Any, q: Any, x: Any, turns: Any) -> tuple[Any, Any]:
    """Cosine and sine of the rotations that make [[p, x], [x, q]] diagonal, where one `turns`."""
    slope = (q - p) / (turns.choose(x, 1) * 2)
    tangent = (slope >= 0).choose(1, -1).astype(p.dtype) / (
        slope.abs() + (slope * slope + 1).sqrt()
    )
    tangent = turns.choose(tangent, 0)
    cosine = 1 / (tangent * tangent + 1).sqrt()
    return cosine, tangent * cosine


def _halves(x: Any, axis: int) -> tuple[Any, Any]:
    half = x.shape[axis] // 2
    return _part(x, axis, 0, half), _part(x, axis, half, 2 * half)


def _part(x: Any, axis: int, start: int, stop: int) -> Any:
    return x[(Ellipsis, slice(start, stop), *[slice(None)] * (-1 - axis))]


def _turned(x: Any, axis: int, cosine: Any, sine: Any) -> Any:
    """The halves of an axis, pair by pair rotated; the pairs are others then."""
    first, second = _halves(x, axis)
    c, s = (one.unsqueeze(-1 if axis == -2 else -2) for one in (cosine, sine))
    first, second = first * c - second * s, first * s + second * c
    half, n = first.shape[axis], x.ndim + axis
    if half == 1:
        return first.concatenate([second], n)
    others = [
        _part(second, axis, 0, 1),
        _part(first, axis, 1, half - 1),
        _part(second, axis, 1, half),
        _part(first, axis, half - 1, half),
    ]
    return _part(first, axis, 0, 1).concatenate([one for one in others if one.shape[axis]], n)


def _swept(sweep: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
    """The state after sweeps, until one says that it has changed nothing that counts."""
    on = as_tensor(np.ones((), bool))
    count = as_tensor(np.zeros((), np.int32))

    def again(on: Any, count: Any, *state: Any) -> Any:
        return on & (count < _MOST)

    def once(on: Any, count: Any, *state: Any) -> Any:
        on, *state = sweep(*state)
        return (on, count + 1, *state)

    _, _, *found = while_loop(again, once, (on, count, *state))
    return tuple(found)


def _even(x: Any, axes: tuple[int, ...]) -> Any:
    """With a row or a column of zeros more where their number is odd."""
    for axis in axes:
        if x.shape[axis] % 2:
            shape = list(x.shape)
            shape[axis] = 1
            zeros = as_tensor(np.zeros(shape, x.dtype))
            x = x.concatenate([zeros], x.ndim + axis)
    return x


def _square_one(leading: tuple[int, ...], n: int, dtype: Any) -> Any:
    return as_tensor(np.eye(n, dtype=dtype)).broadcast_to((*leading, n, n))


def eigh(a: Any) -> Any:
    """The eigenvalues, in ascending order, above the eigenvectors [N, N], of the lower triangle.

    The vectors v are rotated, and with them what the matrix makes of them, b = a v, both as rows:
    a pair is diagonal where v of the one stands upright on b of the other.
    """
    n, leading = a.shape[-1], a.shape[:-2]
    if n < 2 or 0 in leading:
        return a.concatenate([_square_one(leading, n, a.dtype)], a.ndim - 2)
    a = a.tril() + a.tril(-1).mT
    made = _even(a, (-1, -2))
    size = made.shape[-1]
    least = a.abs().amax((-2, -1)).unsqueeze(-1) * (float(np.finfo(a.dtype).eps) * max(n, 8))

    def step(carry: Any, _: Any) -> Any:
        vectors, made = carry
        (v, other), (b, beside) = _halves(vectors, -2), _halves(made, -2)
        p, q = (v * b).sum(-1), (other * beside).sum(-1)
        x = (v * beside).sum(-1)
        turn = _rotation(p, q, x, x != 0)
        turned = (x.abs() > least).any()
        return (_turned(vectors, -2, *turn), _turned(made, -2, *turn)), turned

    def sweep(vectors: Any, made: Any) -> tuple[Any, Any, Any]:
        (vectors, made), turned = scan(step, (vectors, made), as_tensor(np.arange(size - 1)))
        return turned.any(), vectors, made

    vectors, _ = _swept(sweep, (_square_one(leading, size, a.dtype), made))
    vectors = vectors[..., :n, :n].mT
    values = (vectors * (a @ vectors)).sum(-2)
    order = values.argsort(-1)
    values = values.take_along(order, values.ndim - 1)
    vectors = _in_order(vectors, order)
    return values.unsqueeze(-2).concatenate([vectors * _signs(vectors)], a.ndim - 2)


def _in_order(x: Any, order: Any) -> Any:
    """The columns in an order."""
    return x.take_along(order.unsqueeze(-2).broadcast_to(x.shape), x.ndim - 1)


def _signs(vectors: Any) -> Any:
    """1 or -1 for each column, as `signs`."""
    size = vectors.abs()
    large = (size >= size.amax(-2, keepdim=True) * _LARGE).astype(np.int32)
    first = large.argmax(-2, keepdim=True)
    values = vectors.take_along(first, vectors.ndim - 2)
    return (values < 0).choose(-1, 1).astype(vectors.dtype)


def signs(vectors: Array) -> Array:
    """1 or -1 for each column [.., M, N], so that the first of its large values becomes positive.

    Vectors that are unique but for their signs are the same then, whatever computed them.
    """
    size = np.abs(vectors)
    large = size >= size.max(-2, keepdims=True, initial=0) * _LARGE
    if not vectors.shape[-2]:
        return np.ones((*vectors.shape[:-2], 1, vectors.shape[-1]), vectors.dtype)
    values = np.take_along_axis(vectors, large.argmax(-2, keepdims=True), -2)
    return np.where(values < 0, -1, 1).astype(vectors.dtype)


def svd(a: Any) -> Any:
    """u [M, K] above the singular values [1, K], in descending order, above v [N, K]."""
    m, n = a.shape[-2:]
    k, leading = min(m, n), a.shape[:-2]
    if not k or 0 in leading:
        return as_tensor(np.zeros((*leading, m + 1 + n, k), a.dtype))
    u, s, v = _tall(a if m >= n else a.mT)
    u, v = (u, v) if m >= n else (v, u)
    sign = _signs(u)
    return (u * sign).concatenate([s.unsqueeze(-2), v * sign], a.ndim - 2)


def _tall(a: Any) -> tuple[Any, Any, Any]:
    """The parts of a matrix with as many rows as columns, or more: its columns are rotated until
    they stand upright on each other.
    """
    m, n = a.shape[-2:]
    scale = a.abs().amax((-2, -1), keepdim=True)
    scale = (scale > 0).choose(scale, 1)
    columns = _even(a / scale, (-1,))
    size = columns.shape[-1]
    least = float(np.finfo(a.dtype).eps) * max(m, 8)

    def step(carry: Any, _: Any) -> Any:
        columns, vectors = carry
        first, second = _halves(columns, -1)
        p, q = (first * first).sum(-2), (second * second).sum(-2)
        x = (first * second).sum(-2)
        turns = x.abs() > p.sqrt() * q.sqrt() * least
        turn = _rotation(p, q, x, turns)
        return (_turned(columns, -1, *turn), _turned(vectors, -1, *turn)), turns.any()

    def sweep(columns: Any, vectors: Any) -> tuple[Any, Any, Any]:
        steps = as_tensor(np.arange(size - 1))
        (columns, vectors), turned = scan(step, (columns, vectors), steps)
        return turned.any(), columns, vectors

    start = columns, _square_one(a.shape[:-2], size, a.dtype)
    columns, vectors = _swept(sweep, start)
    columns, vectors = columns[..., :n], vectors[..., :n, :n]
    lengths = (columns * columns).sum(-2).sqrt()
    order = (-lengths).argsort(-1)
    columns, vectors = _in_order(columns, order), _in_order(vectors, order)
    parts = qr(columns)  # also for columns of zeros it has vectors that stand upright on the others
    diagonal = parts[..., m:, :].diagonal(0, -2, -1).unsqueeze(-2)
    u = parts[..., :m, :] * (diagonal < 0).choose(-1, 1).astype(a.dtype)
    return u, lengths.take_along(order, lengths.ndim - 1) * scale.squeeze(-1), vectors
