"""Solutions of small matrices written as loops over their columns: what is compiled of them.

Each takes stacks [.., N, N] of tensors of a trace. A step of a loop works on the whole matrix, so
that a solution takes N steps of N (N + K) multiply-adds, three times those of LAPACK. That counts
from N = 64 on.

Source: the algorithms of G. H. Golub and C. F. Van Loan, "Matrix Computations", 4th edition (2013):
Gauss-Jordan elimination with partial pivoting, outer-product Cholesky, substitution by rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mynn.core.graph import Node
from mynn.functional.control import scan
from mynn.ops import gather
from mynn.tensor import apply, as_tensor, no_grad
from mynn.tensor.gradients.history import graph_node
from mynn.tensor.value import Value
from mynn.trace import tracing


def written_out(function: Callable[..., Any]) -> Callable[..., Node]:
    """The function of tensors as one of nodes, for the compiler: `Primitive.expand`."""

    def expand(*nodes: Node, **params: Any) -> Node:
        with tracing.tracing(), no_grad():
            given: list[Any] = [Value.from_node(node) for node in nodes]
            return graph_node(function(*given, **params))

    return expand


class _Steps(NamedTuple):
    """What the steps of an elimination found, a step in each entry of the first axis."""

    rows: Any  # the matrix after the last step
    pivots: Any  # [N, ..]
    places: Any  # [N, ..], the row of the pivot
    before: Any  # [N, ..], how many rows before it are left


def _numbers(n: int) -> Any:
    return as_tensor(np.arange(n))


def column_of(rows: Any, k: Any) -> Any:
    """Column k, which may be a number of a trace."""
    return apply(gather.take, rows, k, axis=rows.ndim - 1)


def _eliminate(rows: Any, n: int, above: bool, least: float = 0.0) -> _Steps:
    """Column by column: the largest value of the rows that are left is the pivot of one of them,
    which is taken off the others; also off those that are done, where `above`. A pivot of 0 becomes
    `least`.
    """
    leading = rows.shape[:-2]
    left = as_tensor(np.ones((*leading, n), bool))
    numbers = _numbers(n)

    def step(carry: Any, k: Any) -> Any:
        rows, left = carry
        column = column_of(rows, k)
        size = left.choose(column.abs(), -1.0)
        chosen = size.argmax(-1)
        place = numbers == chosen.unsqueeze(-1)
        pivot = column.take_along(chosen.unsqueeze(-1), column.ndim - 1).squeeze(-1)
        pivot = (pivot == 0).choose(least, pivot) if least else pivot
        at = chosen.reshape((*leading, 1, 1)).broadcast_to((*leading, 1, rows.shape[-1]))
        row = rows.take_along(at, rows.ndim - 2).squeeze(-2)
        before = (left & (numbers < chosen.unsqueeze(-1))).astype(rows.dtype).sum(-1)
        remaining = left & ~place
        if above:
            row = row / pivot.unsqueeze(-1)
            less = rows - column.unsqueeze(-1) * row.unsqueeze(-2)
            rows = place.unsqueeze(-1).choose(row.unsqueeze(-2), less)
        else:
            safe = (pivot == 0).choose(1, pivot)
            factor = remaining.choose(column / safe.unsqueeze(-1), 0)
            rows = rows - factor.unsqueeze(-1) * row.unsqueeze(-2)
        return (rows, remaining), (pivot, chosen, before)

    (rows, _), found = scan(step, (rows, left), numbers)
    return _Steps(rows, *found)


def solve(a: Any, b: Any) -> Any:
    """x with a x = b; not finite where a has no inverse."""
    n = a.shape[-1]
    return _solution(_eliminate(_beside(a, b), n, True), n) if n else b


def _beside(a: Any, b: Any) -> Any:
    return a.concatenate([b], a.ndim - 1)


def _solution(steps: _Steps, n: int) -> Any:
    """The right parts of the rows, in the order of the columns that they were pivots of."""
    order = steps.places.movedim(0, -1)
    x = steps.rows[..., n:]
    return x.take_along(order.unsqueeze(-1).broadcast_to(x.shape), x.ndim - 2)


def inv(a: Any) -> Any:
    """The inverse."""
    return solve(a, _identity(a))


def _identity(a: Any) -> Any:
    return as_tensor(np.eye(a.shape[-1], dtype=a.dtype)).broadcast_to(a.shape)


def _signs(steps: _Steps) -> Any:
    odd = steps.before.remainder(2)
    return (1 - 2 * odd).prod(0)


def det(a: Any) -> Any:
    """The determinant: the product of the pivots, with the sign of their order."""
    if not a.shape[-1]:
        return as_tensor(np.ones(a.shape[:-2], a.dtype))
    steps = _eliminate(a, a.shape[-1], False)
    return steps.pivots.prod(0) * _signs(steps)


def sign_of_det(a: Any) -> Any:
    """Its sign."""
    if not a.shape[-1]:
        return det(a)
    steps = _eliminate(a, a.shape[-1], False)
    return steps.pivots.sign().prod(0) * _signs(steps)


def log_of_det(a: Any) -> Any:
    """The logarithm of its size."""
    if not a.shape[-1]:
        return det(a).log()
    return _eliminate(a, a.shape[-1], False).pivots.abs().log().sum(0)


def cofactors(a: Any) -> Any:
    """The derivative of the determinant: det(a) times the inverse, transposed.

    A pivot of 0 is taken for a small number e: what was divided by e is multiplied with it again.
    """
    n = a.shape[-1]
    steps = _eliminate(_beside(a, _identity(a)), n, True, float(np.finfo(a.dtype).eps) ** 2)
    total = (steps.pivots.prod(0) * _signs(steps)).unsqueeze(-1).unsqueeze(-1)
    return _solution(steps, n).mT * total


def lu(a: Any) -> tuple[Any, Any, Any]:
    """A permutation, the lower and the upper triangular factor of [.., M, N]."""
    m, n = a.shape[-2:]
    k = min(m, n)
    leading = a.shape[:-2]
    if not k:
        empty = as_tensor(np.zeros((*leading, m, k), a.dtype))
        same = as_tensor(np.eye(m, dtype=a.dtype)).broadcast_to((*leading, m, m))
        return same, empty, as_tensor(np.zeros((*leading, k, n), a.dtype))
    numbers = _numbers(m)

    def step(carry: Any, now: Any) -> Any:
        rows, order = carry
        column = column_of(rows, now)
        size = (numbers >= now).choose(column.detach().abs(), -1.0)
        chosen = size.argmax(-1).unsqueeze(-1)
        # The row of the pivot and the one that stands in its place are exchanged.
        swapped = (numbers == now).choose(chosen, (numbers == chosen).choose(now, numbers))
        swapped = swapped.broadcast_to((*leading, m))
        order = order.take_along(swapped, order.ndim - 1)
        rows = rows.take_along(swapped.unsqueeze(-1).broadcast_to(rows.shape), rows.ndim - 2)
        column, row = column_of(rows, now), apply(gather.take, rows, now, axis=rows.ndim - 2)
        pivot = apply(gather.take, column, now, axis=column.ndim - 1).unsqueeze(-1)
        factor = (numbers > now).choose(column / (pivot == 0).choose(1, pivot), 0)
        # What becomes 0 below the pivot keeps the factors.
        columns = as_tensor(np.arange(n))
        here, later = columns == now, columns >= now
        less = rows - factor.unsqueeze(-1) * later.choose(row, 0).unsqueeze(-2)
        below = (numbers > now).unsqueeze(-1)
        return ((here & below).choose(factor.unsqueeze(-1), less), order), None

    start = numbers.broadcast_to((*leading, m))
    (rows, order), _ = scan(step, (a, start), _numbers(k))
    eye = as_tensor(np.eye(m, k, dtype=a.dtype))
    p = (order.unsqueeze(-2) == numbers.unsqueeze(-1)).astype(a.dtype)
    return p, rows[..., :, :k].tril(-1) + eye, rows[..., :k, :].triu()


def cholesky(a: Any) -> Any:
    """The lower triangular factor; NaN where a is not positive."""
    n = a.shape[-1]
    if not n:
        return a
    numbers = _numbers(n)

    def step(rows: Any, k: Any) -> Any:
        column = column_of(rows, k)
        root = apply(gather.take, column, k, axis=column.ndim - 1).sqrt()
        made = (numbers >= k).choose(column / root.unsqueeze(-1), 0)
        return rows - made.unsqueeze(-1) * made.unsqueeze(-2), made

    _, columns = scan(step, a, numbers)
    return columns.movedim(0, -1)


def solve_triangular(a: Any, b: Any, upper: bool, unit: bool) -> Any:
    """x with a x = b, row by row from the one that has no unknown beside its own."""
    n = a.shape[-1]
    if not n:
        return b
    known = a.triu(1) if upper else a.tril(-1)
    numbers = _numbers(n)
    own = a.filled(1)[..., 0] if unit else a.diagonal(0, -2, -1)
    given = (known.movedim(-2, 0), own.movedim(-1, 0), b.movedim(-2, 0), numbers)

    def step(x: Any, now: Any) -> Any:
        row, own, right, k = now
        value = right - (row.unsqueeze(-2) @ x).squeeze(-2)
        value = value if unit else value / own.unsqueeze(-1)
        here = (numbers == k).unsqueeze(-1)
        return here.choose(value.unsqueeze(-2), x), None

    x, _ = scan(step, b.filled(0), given, reverse=upper)
    return x
