"""Solutions and decompositions of matrices; leading axes are batches.

NumPy computes them, with gradients of any order; in a traced function they become native code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mynn import return_types
from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, ShapeError
from mynn.functional.products import chain_matmul
from mynn.linalg import primitives
from mynn.linalg.norms import matrix_norm
from mynn.tensor import Tensor, apply, as_tensor, matmul, same_dtype


@recorded
@explained
def inv(A: Any) -> Tensor:
    """The inverse of square matrices.

    Example:
        >>> inv([[2.0, 0.0], [0.0, 4.0]]).tolist()
        [[0.5, 0.0], [0.0, 0.25]]
    """
    result: Tensor = primitives.regular(primitives.inv, as_tensor(A))
    return result


inverse = inv


def _as_columns(a: Tensor, b: Tensor) -> bool:
    """Whether b holds vectors, not matrices."""
    return b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape == a.shape[:-1])


def _batched(name: str, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the leading axes that they have in common."""
    if a.ndim < 2 or a.shape[-1] != a.shape[-2] or b.ndim < 2 or b.shape[-2] != a.shape[-1]:
        raise ShapeError(
            f"linalg.{name}: A {a.shape} must be square, B {b.shape} must have as many rows"
        )
    try:
        leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ShapeError(f"linalg.{name}: leading axes of {a.shape}, {b.shape} differ") from None
    return (
        a.broadcast_to((*leading, *a.shape[-2:])),
        b.broadcast_to((*leading, *b.shape[-2:])),
    )


@recorded
@explained
def solve(A: Any, B: Any, *, left: bool = True) -> Tensor:
    """X with A X = B, or X A = B where not `left`; B holds matrices or vectors.

    Example:
        >>> solve([[2.0, 0.0], [0.0, 4.0]], [2.0, 4.0]).tolist()
        [1.0, 1.0]
    """
    a, b = same_dtype(A, B, floating=True)
    if _as_columns(a, b):
        return solve(a, b.unsqueeze(-1)).squeeze(-1)
    if not left:
        return solve(a.mT, b.mT).mT
    result: Tensor = primitives.regular(primitives.solve, *_batched("solve", a, b))
    return result


@recorded
@explained
def solve_triangular(
    A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """X with A X = B for triangular A, of which no more is read; X A = B where not `left`."""
    a, b = same_dtype(A, B, floating=True)
    if not left:
        return solve_triangular(a.mT, b.mT, upper=not upper, unitriangular=unitriangular).mT
    given = _batched("solve_triangular", a, b)
    result: Tensor = apply(
        primitives.solve_triangular, *given, upper=bool(upper), unit=bool(unitriangular)
    )
    return result


@recorded
@explained
def det(A: Any) -> Tensor:
    """The determinant of square matrices."""
    result: Tensor = apply(primitives.det, as_tensor(A))
    return result


@explained
def slogdet(A: Any) -> return_types.linalg_slogdet:
    """The sign of the determinant, and the logarithm of its size."""
    x = as_tensor(A)
    return return_types.linalg_slogdet(
        apply(primitives.sign_of_det, x), apply(primitives.log_of_det, x)
    )


@explained
def logdet(input: Any) -> Tensor:
    """The logarithm of the determinant; NaN where that is negative."""
    sign, size = slogdet(input)
    result: Tensor = (sign < 0).choose(np.nan, size)
    return result


@recorded
@explained
def cholesky(A: Any, *, upper: bool = False) -> Tensor:
    """L, lower triangular, with A = L L^T for symmetric positive A; L^T with `upper`."""
    a = as_tensor(A)
    lower = a.mT if upper else a
    result: Tensor = primitives.regular(primitives.cholesky, lower, kind="indefinite")
    return result.mT if upper else result


@explained
def qr(A: Any, mode: str = "reduced") -> return_types.linalg_qr:
    """Q and R with A = Q R; with mode="r" Q is empty."""
    if mode not in ("reduced", "r"):
        raise ArgumentError(f"qr: mode must be 'reduced' or 'r', it is {mode!r}")
    a = as_tensor(A)
    parts = apply(primitives.qr, a)
    rows = a.shape[-2]
    q = parts[..., :rows, :]
    if mode == "r":
        q = as_tensor(np.zeros(0, a.dtype))
    return return_types.linalg_qr(q, parts[..., rows:, :].mT)


@explained
def eigh(A: Any, UPLO: str = "L") -> return_types.linalg_eigh:
    """Eigenvalues and eigenvectors of symmetric matrices, of which one triangle is read.

    Of the large values of each vector, those of at least 0.63 of the largest, the first is
    positive. Vectors of equal values are not unique: native code may give others.
    """
    if UPLO not in ("L", "U", "l", "u"):
        raise ArgumentError(f"eigh: UPLO must be 'L' or 'U', it is {UPLO!r}")
    a = as_tensor(A)
    parts = apply(primitives.eigh, a if UPLO in ("L", "l") else a.mT)
    return return_types.linalg_eigh(parts[..., 0, :], parts[..., 1:, :])


@explained
def eigvalsh(A: Any, UPLO: str = "L") -> Tensor:
    """Eigenvalues of symmetric matrices, in ascending order."""
    values: Tensor = eigh(A, UPLO).eigenvalues
    return values


@explained
def svd(A: Any, full_matrices: bool = True) -> return_types.linalg_svd:
    """U, S and V^T with A = U diag(S) V^T.

    U and V are square, or with full_matrices=False have as many columns as S has values. Through
    the columns that only complete them no gradient flows: they are not unique. The signs are those
    by which of the large values of each column of U (see `eigh`) the first is positive.
    """
    a = as_tensor(A)
    parts = apply(primitives.svd, a)
    rows = a.shape[-2]
    u, s, v = parts[..., :rows, :], parts[..., rows, :], parts[..., rows + 1 :, :]
    if full_matrices:
        u, v = _completed(u), _completed(v)
    return return_types.linalg_svd(u, s, v.mT)


def _completed(x: Tensor) -> Tensor:
    """A matrix with orthonormal columns, with as many more as make it square."""
    missing = x.shape[-2] - x.shape[-1]
    if not missing:
        return x
    rows = x.shape[-2]
    eye = as_tensor(np.eye(rows, dtype=x.dtype)).broadcast_to((*x.shape[:-1], rows))
    whole = apply(primitives.qr, x.detach().concatenate([eye], x.ndim - 1))
    square: Tensor = x.concatenate([whole[..., :rows, x.shape[-1] :]], x.ndim - 1)
    return square


@explained
def svdvals(A: Any) -> Tensor:
    """Singular values, in descending order."""
    values: Tensor = svd(A, False).S
    return values


def _positive(a: Tensor, s: Tensor, atol: Any, rtol: Any) -> Tensor:
    """Which singular values count as more than 0: those above atol, and rtol times the largest."""
    if not s.shape[-1]:
        return s > 0
    given = [None if one is None else as_tensor(one, like=s) for one in (atol, rtol)]
    if rtol is None:
        eps = max(a.shape[-2:]) * float(np.finfo(a.dtype).eps)
        # As in PyTorch rtol counts only where atol is not given, or is 0.
        given[1] = as_tensor(eps, like=s)
        if given[0] is not None:
            given[1] = (given[0] > 0).choose(as_tensor(0.0, like=s), given[1])
    least = s.amax(-1, keepdim=True) * _column(given[1])
    bound: Tensor = least if given[0] is None else least.maximum(_column(given[0]))
    return s > bound


def _symmetric(a: Tensor) -> Tensor:
    """The symmetric matrix of a lower triangle."""
    return a.tril() + a.tril(-1).mT


def _column(limit: Any) -> Any:
    return limit.unsqueeze(-1) if limit.ndim else limit


@explained
def pinv(
    A: Any, *, atol: Any = None, rtol: Any = None, hermitian: bool = False, rcond: Any = None
) -> Tensor:
    """The pseudo-inverse: singular values up to `atol`, or `rtol` times the largest, count as 0."""
    a = _symmetric(as_tensor(A)) if hermitian else as_tensor(A)
    u, s, vh = svd(a, False)
    kept = _positive(a, s, atol, rcond if rtol is None else rtol)
    inverse = kept.choose(1 / kept.choose(s, 1), 0)
    return matmul(vh.mT * inverse.unsqueeze(-2), u.mT)


@explained
def matrix_rank(
    A: Any, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Tensor:
    """How many singular values are more than `atol`, or `rtol` times the largest."""
    a = _symmetric(as_tensor(A)) if hermitian else as_tensor(A)
    if tol is not None:
        atol, rtol = tol, 0.0
    return _positive(a, svd(a, False).S, atol, rtol).sum(-1)


@explained
def lstsq(
    A: Any, B: Any, rcond: float | None = None, *, driver: str | None = None
) -> return_types.linalg_lstsq:
    """The X of least squares |A X - B|, from the pseudo-inverse."""
    a, b = same_dtype(A, B, floating=True)
    if a.ndim < 2 or b.ndim < 2 or a.shape[-2] != b.shape[-2]:
        raise ShapeError(f"lstsq: A {a.shape} and B {b.shape} must have as many rows")
    solution = matmul(pinv(a, rtol=rcond), b)
    residual = matmul(a, solution) - b
    over = a.shape[-2] > a.shape[-1]
    residuals = (residual * residual).sum(-2) if over else as_tensor(np.zeros(0, a.dtype))
    return return_types.linalg_lstsq(solution, residuals, matrix_rank(a), svdvals(a))


@explained
def matrix_power(A: Any, n: int) -> Tensor:
    """The n-th power of square matrices; with negative n of their inverse."""
    x = as_tensor(A)
    return inv(x).matrix_power(-n) if n < 0 else x.matrix_power(n)


@explained
def multi_dot(tensors: Sequence[Any]) -> Tensor:
    """The product of matrices, in the order that takes the fewest multiplications; the first and
    the last may be vectors.
    """
    given = [as_tensor(one) for one in tensors]
    if len(given) < 2:
        raise ArgumentError(f"multi_dot: give at least two tensors, not {len(given)}")
    row, column = given[0].ndim == 1, given[-1].ndim == 1
    given[0] = given[0].unsqueeze(0) if row else given[0]
    given[-1] = given[-1].unsqueeze(1) if column else given[-1]
    result = chain_matmul(*given)
    result = result.squeeze(-1) if column else result
    return result.squeeze(0) if row else result


def _none_failed(a: Any) -> Tensor:
    """A 0 for each matrix: one without a result has been an error."""
    return as_tensor(np.zeros(as_tensor(a).shape[:-2], np.int32))


@explained
def inv_ex(A: Any, *, check_errors: bool = False) -> return_types.linalg_inv_ex:
    """The inverse, and zeros: a matrix without one is an error here."""
    return return_types.linalg_inv_ex(inv(A), _none_failed(A))


@explained
def solve_ex(
    A: Any, B: Any, *, left: bool = True, check_errors: bool = False
) -> return_types.linalg_solve_ex:
    """The solution, and zeros: a matrix without one is an error here."""
    return return_types.linalg_solve_ex(solve(A, B, left=left), _none_failed(A))


@explained
def cholesky_ex(
    A: Any, *, upper: bool = False, check_errors: bool = False
) -> return_types.linalg_cholesky_ex:
    """The factor, and zeros: a matrix without one is an error here."""
    return return_types.linalg_cholesky_ex(cholesky(A, upper=upper), _none_failed(A))


@explained
def tensorinv(A: Any, ind: int = 2) -> Tensor:
    """The inverse of `tensordot(A, x, x.ndim)`; the first `ind` axes are the rows."""
    a = as_tensor(A)
    if not 0 < ind < a.ndim + 1:
        raise ArgumentError(f"tensorinv: ind must lie in 1..{a.ndim}, it is {ind}")
    rows, columns = a.shape[:ind], a.shape[ind:]
    if np.prod(rows) != np.prod(columns):
        raise ShapeError(f"tensorinv: {rows} and {columns} must hold equally many values")
    flat = a.reshape((int(np.prod(rows)), -1))
    return inv(flat).reshape((*columns, *rows))


@explained
def tensorsolve(A: Any, B: Any, dims: Sequence[int] | None = None) -> Tensor:
    """X with tensordot(A, X, X.ndim) = B."""
    a, b = same_dtype(A, B, floating=True)
    if dims is not None:
        moved = [axis % a.ndim for axis in dims]
        a = a.movedim(tuple(moved), tuple(range(a.ndim - len(moved), a.ndim)))
    shape = a.shape[b.ndim :]
    if np.prod(shape) != b.numel():
        raise ShapeError(f"tensorsolve: A {a.shape} and B {b.shape} do not fit")
    return solve(a.reshape((b.numel(), -1)), b.reshape(-1)).reshape(shape)


@explained
def vander(x: Any, *, N: int | None = None) -> Tensor:
    """The powers 0, 1, .. N - 1 of each value, along a new last axis."""
    values = as_tensor(x)
    values = values if values.dtype.kind == "f" else values.astype(np.int64)
    values = values if values.ndim else values.reshape(1)
    count = values.shape[-1] if N is None else N
    if count < 1:
        raise ArgumentError(f"vander: N must be at least 1, it is {N}")
    one = values.filled(1).unsqueeze(-1)
    wide = values.unsqueeze(-1).broadcast_to((*values.shape, count - 1))
    result: Tensor = one.concatenate([wide], values.ndim)
    return result.cumprod(-1)


@explained
def cond(A: Any, p: Any = None) -> Tensor:
    """The condition number: the norm of a matrix times that of its inverse."""
    a = as_tensor(A)
    if p in (None, 2, -2):
        s = svdvals(a)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return matrix_norm(a, p) * matrix_norm(inv(a), p)


@explained
def diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonal of the last two axes."""
    return as_tensor(A).diagonal(offset, dim1, dim2)
