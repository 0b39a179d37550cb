"""Products of several tensors: einsum, tensordot, chains of matrices."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from mynn.base.arguments import explained, whole_number
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, ShapeError
from mynn.ops.rules import normalize_axes
from mynn.tensor import Tensor, as_tensor, contract, matmul, promote, same_dtype

# A name of an axis: a letter, a number, or the place of an axis that "..." stands for.
Label = Any


@recorded
@explained
def einsum(equation: Any, *operands: Any) -> Tensor:
    """Sums of products, by names of axes: einsum("bij,bjk->bik", x, y).

    Axes with one name are multiplied element by element; names that the result does not have are
    summed over. A name that an operand has twice stands for its diagonal; "..." for axes without
    a name, which broadcast. Without "->" the result has the names that occur once, in the order of
    the alphabet. Instead of an equation, lists of numbers behind the operands:
    einsum(x, [0, 1], y, [1, 2], [0, 2]).

    Example:
        >>> einsum("ij,j->i", [[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0]).tolist()
        [3.0, 7.0]
    """
    named, result, given = _parsed(equation, operands)
    tensors = [as_tensor(one) for one in given]
    dtype = promote(*(one.dtype for one in tensors))
    terms = [
        _term(number, one.astype(dtype), names)
        for number, (one, names) in enumerate(zip(tensors, named, strict=True))
    ]
    dots = sorted({label for _, names in terms for label in names if _is_dot(label)}, reverse=True)
    output = _output(result, named, dots)
    for label in output:
        if not any(label in names for _, names in terms):
            raise ArgumentError(f"einsum: the result has the name {label!r}, no operand has it")
    terms = [_without_ones(term, terms) for term in terms]
    total = terms[0]
    for number, other in enumerate(terms[1:], 1):
        later = {label for _, names in terms[number + 1 :] for label in names}
        total = _contracted(total, other, {*output, *later})
    x, names = _summed(total, {*output})
    missing = [label for label in output if label not in names]  # of extent 1 everywhere
    x = x.reshape((*x.shape, *(1 for _ in missing)))
    names = [*names, *missing]
    return x.permute(tuple(names.index(label) for label in output)) if output else x


Term = tuple[Tensor, list[Label]]


def _is_dot(label: Label) -> bool:
    return isinstance(label, tuple)


def _parsed(equation: Any, operands: Any) -> tuple[list[list[Label]], list[Label] | None, Any]:
    """The names of the axes of each operand and of the result, "..." among them, and operands."""
    if not isinstance(equation, str):
        pairs = (equation, *operands)
        count = len(pairs) // 2
        lists = [list(one) for one in pairs[1 : 2 * count : 2]]
        last = list(pairs[-1]) if len(pairs) % 2 else None
        return lists, last, pairs[0 : 2 * count : 2]
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    text = equation.replace(" ", "").replace("...", ".")
    inputs, arrow, output = text.partition("->")
    named = [_letters(equation, one) for one in inputs.split(",")]
    if len(named) != len(operands):
        raise ArgumentError(
            f"einsum: {equation!r} names {len(named)} operands, {len(operands)} were given"
        )
    return named, _letters(equation, output) if arrow else None, operands


def _letters(equation: str, text: str) -> list[Label]:
    for one in text:
        if not (one.isalpha() and one.isascii()) and one != ".":
            raise ArgumentError(
                f"einsum: {one!r} in {equation!r} names no axis; names are letters a-z and A-Z"
            )
    if text.count(".") > 1:
        raise ArgumentError(f"einsum: {equation!r} has more than one '...' for an operand")
    return [Ellipsis if one == "." else one for one in text]


def _term(number: int, x: Tensor, names: list[Label]) -> Term:
    """An operand with a name for each axis, each name once."""
    more = x.ndim - (len(names) - names.count(Ellipsis))
    if more < 0 or (more and Ellipsis not in names):
        raise ShapeError(
            f"einsum: operand {number} has shape {x.shape}, the equation names "
            f"{len(names) - names.count(Ellipsis)} of its axes"
        )
    full: list[Label] = []
    for label in names:
        # By their place from the last: they broadcast.
        dots = [("...", more - i - 1) for i in range(more)]
        full += dots if label is Ellipsis else [label]
    for label in dict.fromkeys(full):
        while full.count(label) > 1:
            a = full.index(label)
            b = full.index(label, a + 1)
            if x.shape[a] != x.shape[b]:
                raise ShapeError(
                    f"einsum: the name {label!r} stands for {x.shape[a]} and {x.shape[b]} in "
                    f"operand {number} of shape {x.shape}"
                )
            x = x.diagonal(0, a, b)
            full = [one for i, one in enumerate(full) if i not in (a, b)] + [label]
    return x, full


def _output(result: list[Label] | None, named: list[list[Label]], dots: list[Label]) -> list[Label]:
    """The names of the result, in order."""
    if result is None:
        every = [label for names in named for label in names if label is not Ellipsis]
        once = sorted(label for label in {*every} if every.count(label) == 1)
        return [*dots, *once]
    found: list[Label] = []
    for label in result:
        found += dots if label is Ellipsis else [label]
    if len({*found}) < len(found):
        raise ArgumentError(f"einsum: the result has a name twice: {result}")
    return found


def _without_ones(term: Term, terms: list[Term]) -> Term:
    """Without axes of extent 1, which broadcast against those of other operands."""
    x, names = term
    extents: dict[Label, int] = {}
    for other, labels in terms:
        for label, n in zip(labels, other.shape, strict=True):
            if n != 1 and extents.setdefault(label, n) != n:
                raise ShapeError(
                    f"einsum: the name {label!r} stands for the extents {extents[label]} and {n}"
                )
    kept = [i for i, n in enumerate(x.shape) if n != 1]
    if len(kept) == x.ndim:
        return term
    return x.reshape(tuple(x.shape[i] for i in kept)), [names[i] for i in kept]


def _summed(term: Term, kept: set[Label]) -> Term:
    """Summed over the names that nobody needs any more."""
    x, names = term
    gone = tuple(i for i, label in enumerate(names) if label not in kept)
    if not gone:
        return term
    return x.sum(gone, dtype=x.dtype), [label for label in names if label in kept]


def _contracted(first: Term, second: Term, kept: set[Label]) -> Term:
    """The product of two operands, summed over names that nobody needs any more."""
    a, left = _summed(first, {*kept, *second[1]})
    b, right = _summed(second, {*kept, *first[1]})
    batch = [label for label in left if label in right and label in kept]
    inner = [label for label in left if label in right and label not in kept]
    rows = [label for label in left if label not in right]
    columns = [label for label in right if label not in left]
    a = a.permute(tuple(left.index(label) for label in (*batch, *rows, *inner)))
    b = b.permute(tuple(right.index(label) for label in (*batch, *inner, *columns)))
    return _product(a, b, len(batch), len(inner)), [*batch, *rows, *columns]


def _product(a: Tensor, b: Tensor, batch: int, summed: int) -> Tensor:
    """[B.. | P.. | K..] and [B.. | K.. | Q..] -> [B.. | P.. | Q..]."""
    end = a.ndim - summed
    shape = (*a.shape[:end], *b.shape[batch + summed :])
    if not summed:
        more = b.ndim - batch
        wide = a.reshape((*a.shape, *(1,) * more))
        return wide * b.reshape((*b.shape[:batch], *(1,) * (end - batch), *b.shape[batch:]))
    if a.dtype.kind == "f":
        return contract(a, b, batch, summed)
    leading, inner = a.shape[:batch], math.prod(a.shape[end:])
    if a.dtype.kind == "b":
        return _product(a.astype("int64"), b.astype("int64"), batch, summed) != 0
    left = a.reshape((*leading, math.prod(a.shape[batch:end]), inner))
    right = b.reshape((*leading, inner, math.prod(b.shape[batch + summed :])))
    return matmul(left, right).reshape(shape)


@recorded
@explained
def tensordot(a: Any, b: Any, dims: Any = 2) -> Tensor:
    """Products summed over several axes: the last `dims` of a and the first of b, or two lists.

    Example:
        >>> tensordot([[1.0, 2.0]], [[3.0], [4.0]], dims=1).tolist()
        [[11.0]]
    """
    x, y = same_dtype(a, b)
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, Sequence):
        first, second = (
            [normalize_axes(axis, t.ndim, "tensordot")[0] for axis in one]
            for one, t in zip(dims, (x, y), strict=True)
        )
    else:
        count = whole_number("tensordot: dims", dims)
        if not 0 <= count <= min(x.ndim, y.ndim):
            raise ArgumentError(f"tensordot: dims must lie in 0..{min(x.ndim, y.ndim)}: {count}")
        first, second = list(range(x.ndim - count, x.ndim)), list(range(count))
    if len(first) != len(second):
        raise ArgumentError(f"tensordot: dims {dims} name different numbers of axes")
    for one, other in zip(first, second, strict=True):
        if 1 in (x.shape[one], y.shape[other]):  # the one value stands beside each of the others
            x = x.sum(one, keepdim=True, dtype=x.dtype)
            y = y.sum(other, keepdim=True, dtype=y.dtype)
        elif x.shape[one] != y.shape[other]:
            raise ShapeError(
                f"tensordot: axis {one} of {x.shape} and axis {other} of {y.shape} differ"
            )
    rows = [i for i in range(x.ndim) if i not in first]
    columns = [i for i in range(y.ndim) if i not in second]
    return _product(x.permute((*rows, *first)), y.permute((*second, *columns)), 0, len(first))


@recorded
@explained
def chain_matmul(*matrices: Any) -> Tensor:
    """The product of matrices, in the order that takes the fewest multiplications."""
    given = [as_tensor(one) for one in matrices]
    if len(given) == 1 and isinstance(matrices[0], list | tuple):
        given = [as_tensor(one) for one in matrices[0]]
    if not given:
        raise ArgumentError("chain_matmul: give at least one matrix")
    for number, (a, b) in enumerate(itertools.pairwise(given)):
        if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
            raise ShapeError(
                f"chain_matmul: matrices {number} and {number + 1} of shapes {a.shape} and "
                f"{b.shape} do not fit"
            )
    return _chain(given, _best_cuts([one.shape[0] for one in given] + [given[-1].shape[-1]]))


def _best_cuts(extents: list[int]) -> dict[tuple[int, int], int]:
    """Where to cut each part of a chain, found for short parts first."""
    count = len(extents) - 1
    cost = {(i, i): 0 for i in range(count)}
    cuts = {}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            choices = [
                (cost[i, k] + cost[k + 1, j] + extents[i] * extents[k + 1] * extents[j + 1], k)
                for k in range(i, j)
            ]
            cost[i, j], cuts[i, j] = min(choices)
    return cuts


def _chain(given: list[Tensor], cuts: dict[tuple[int, int], int]) -> Tensor:
    def part(i: int, j: int) -> Tensor:
        if i == j:
            return given[i]
        k = cuts[i, j]
        return matmul(part(i, k), part(k + 1, j))

    return part(0, len(given) - 1)


__all__ = ["chain_matmul", "einsum", "tensordot"]
