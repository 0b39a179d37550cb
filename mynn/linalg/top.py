"""Linear algebra under the names, and with the arguments, that it has at PyTorch's top."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn import return_types
from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ShapeError
from mynn.linalg import norms, solutions
from mynn.tensor import Tensor, as_tensor


@explained
def cholesky(input: Any, upper: bool = False) -> Tensor:
    """L, lower triangular, with A = L L^T; L^T with `upper`: see `linalg.cholesky`."""
    return solutions.cholesky(input, upper=upper)


@explained
def cholesky_solve(B: Any, L: Any, upper: bool = False) -> Tensor:
    """X with A X = B, where A is given by its Cholesky factor.

    Example:
        >>> cholesky_solve([[4.0]], [[2.0]]).tolist()
        [[1.0]]
    """
    factor = as_tensor(L)
    lower = factor.mT if upper else factor
    half = solutions.solve_triangular(lower, B, upper=False)
    return solutions.solve_triangular(lower.mT, half, upper=True)


@explained
def cholesky_inverse(L: Any, upper: bool = False) -> Tensor:
    """The inverse of the matrix that is given by its Cholesky factor."""
    factor = as_tensor(L)
    lower = factor.tril() if not upper else factor.triu().mT
    inverse = solutions.inv(lower)
    product: Tensor = inverse.mT @ inverse
    return product


@recorded
@explained
def cross(input: Any, other: Any, dim: int | None = None) -> Tensor:
    """The cross product along `dim`, without it along the first axis of three values."""
    x = as_tensor(input)
    if dim is None:
        dim = next((axis for axis, n in enumerate(x.shape) if n == 3), None)
    if dim is None:
        raise ShapeError(f"cross: no axis of {x.shape} has extent 3")
    return norms.cross(x, other, dim=dim)


@explained
def pinverse(input: Any, rcond: float = 1e-15) -> Tensor:
    """The pseudo-inverse: singular values up to rcond times the largest count as 0."""
    return solutions.pinv(input, rcond=rcond)


@explained
def qr(input: Any, some: bool = True) -> return_types.qr:
    """Q and R with A = Q R, where Q has as many columns as it needs."""
    if not some:
        raise ShapeError("qr: some=False is not there: its other columns are not unique; leave it")
    return return_types.qr(*solutions.qr(input))


@explained
def svd(input: Any, some: bool = True, compute_uv: bool = True) -> return_types.svd:
    """U, S and V with A = U diag(S) V^T."""
    u, s, vh = solutions.svd(input, full_matrices=not some)
    if compute_uv:
        return return_types.svd(u, s, vh.mT)
    x = as_tensor(input)
    sides = (x.shape[-2], x.shape[-1])
    zeros = [as_tensor(np.zeros((*x.shape[:-2], n, n), x.dtype)) for n in sides]
    return return_types.svd(zeros[0], s, zeros[1])
