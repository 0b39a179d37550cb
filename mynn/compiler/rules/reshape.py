"""Reshapes as index arithmetic: which axes hold the same elements before and after."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from mynn.compiler.loop_ir.affine import Affine, Index, dot
from mynn.core.types import Shape

# Asked again and again about the shapes of a program, which are few.
_kept = functools.lru_cache(maxsize=4096)


@_kept
def unit_reshape(old: Shape, new: Shape) -> bool:
    """Whether a reshape only adds or removes axes of extent 1."""
    return [n for n in old if n != 1] == [n for n in new if n != 1]


@_kept
def splits_only(old: Shape, new: Shape) -> bool:
    """Whether a reshape splits axes, but merges none (axes of extent 1 aside)."""
    return all(sum(old[axis] != 1 for axis in left) <= 1 for left, _ in reshape_groups(old, new))


@_kept
def reshape_groups(old: Shape, new: Shape) -> tuple[tuple[Shape, Shape], ...]:
    """Pair the shortest runs of axes of `old` and `new` that hold the same number of elements."""
    groups: list[tuple[Shape, Shape]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        left: list[int] = []
        right: list[int] = []
        a = b = 1
        while (not left and not right) or a != b:
            if (a <= b and i < len(old)) or j >= len(new):
                left.append(i)
                a *= old[i]
                i += 1
            else:
                right.append(j)
                b *= new[j]
                j += 1
        groups.append((tuple(left), tuple(right)))
    return tuple(groups)


def reshape_index(
    old: Shape, new: Shape, index: Index, divide: Callable[[Affine, int, int], Affine]
) -> Index:
    """The index into `old` of the element at `index` of `new`, in row-major order.

    `divide(value, divisor, modulus)` gives (value // divisor) % modulus as a new variable.
    """
    result = [Affine()] * len(old)
    for left, right in reshape_groups(old, new):
        steps = [math.prod(new[axis + 1 : right[-1] + 1]) for axis in right]
        linear = dot([index[axis] for axis in right], steps)
        wide = [axis for axis in left if old[axis] != 1]
        if len(wide) == 1:
            result[wide[0]] = linear
            continue
        step = math.prod(old[axis] for axis in wide)
        for axis in wide:
            step //= old[axis]
            result[axis] = divide(linear, step, old[axis])
    return tuple(result)
