"""Triangular factors and exponentials of small matrices, made of tensor operations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mynn import return_types
from mynn.base.arguments import explained
from mynn.errors import ArgumentError
from mynn.linalg import elimination, primitives
from mynn.linalg.solutions import solve
from mynn.tensor import Tensor, as_tensor
from mynn.tensor.gradients.history import array_of
from mynn.trace import tracing


@explained
def lu(A: Any, *, pivot: bool = True) -> return_types.linalg_lu:
    """P, L and U with A = P L U, by elimination with partial pivoting.

    Raises:
        ArgumentError: pivot=False, which PyTorch has on GPUs alone.

    Example:
        >>> lu([[0.0, 2.0], [4.0, 6.0]]).U.tolist()
        [[4.0, 6.0], [0.0, 2.0]]

    Source: G. H. Golub and C. F. Van Loan, "Matrix Computations", 4th edition (2013), 3.4.
    """
    if not pivot:
        raise ArgumentError("lu: pivot=False is not there, as on PyTorch's processors; leave it")
    a = as_tensor(A)
    primitives.floats("lu", a.spec)
    return return_types.linalg_lu(*elimination.lu(a))


# The Pade approximation of e^x: its order, the coefficients of its numerator, and the norm up to
# which it is right to float64.
_ORDER = 13
_TERMS = [
    math.factorial(2 * _ORDER - k)
    / (math.factorial(k) * math.factorial(_ORDER - k))
    / (math.factorial(2 * _ORDER) / math.factorial(_ORDER))
    for k in range(_ORDER + 1)
]
_NORM = 5.37
# In a trace the norm is not known: so often a power is squared at the most, for norms to 350,000.
_SQUARES = 16


@explained
def matrix_exp(A: Any) -> Tensor:
    """e^A = I + A + A^2 / 2 + A^3 / 6 + ... of square matrices.

    A is halved until its 1-norm is at most 5.37, and the result squared as often; in a traced
    function, which does not know the norm, at most 16 times.

    Example:
        >>> matrix_exp([[0.0, 1.0], [0.0, 0.0]]).tolist()
        [[1.0, 1.0], [0.0, 1.0]]

    Source: N. J. Higham, "The scaling and squaring method for the matrix exponential revisited",
    SIAM Journal on Matrix Analysis and Applications 26 (2005).
    """
    given = as_tensor(A)
    primitives.square("matrix_exp", given.spec)
    a = given.astype(np.float64)
    if not a.numel():
        return given.clone()
    norm = a.detach().abs().sum(-2).amax(-1)
    halvings = (norm / _NORM).clip(min=1.0).log2().ceil()
    if tracing.active() is None:
        known = array_of(halvings)
        most = min(int(known.max()), 1100) if np.isfinite(known).all() else 0
    else:
        most = _SQUARES
    halvings = halvings.clip(max=float(most))
    each = halvings.unsqueeze(-1).unsqueeze(-1)
    x = a * (-each).exp2()
    one = as_tensor(np.eye(a.shape[-1], dtype=a.dtype)).broadcast_to(a.shape)
    square = x @ x
    even, odd = one * _TERMS[_ORDER - 1], one * _TERMS[_ORDER]
    for k in range(_ORDER - 3, -1, -2):
        even, odd = even @ square + one * _TERMS[k], odd @ square + one * _TERMS[k + 1]
    odd = x @ odd
    y = solve(even - odd, even + odd)
    for step in range(most):
        y = (each > step).choose(y @ y, y)
    return y.astype(given.dtype)
