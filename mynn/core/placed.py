"""Cotangents of slices: zero outside a part of an array, and joined before they are added up.

An array that is read slice by slice, such as the steps of a sequence in a loop, gets a cotangent
from each slice. Each padded to the whole array would take as many additions of whole arrays as
there are slices; parts that lie beside each other are concatenated instead:

    pad(a) + pad(b) + pad(c)   ->   concatenate(a, b, c)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from mynn.base.dataclass import dataclass
from mynn.core.rows import Rows, joined
from mynn.core.types import Shape


@dataclass(frozen=True)
class Placed:
    """Zeros of `shape`, with `value` at starts, starts + steps... of each axis."""

    value: Any
    shape: Shape
    starts: Shape
    steps: Shape

    def dense(self) -> Any:
        """The whole array."""
        widths = []
        for axis, extent in enumerate(self.shape):
            low, step = self.starts[axis], self.steps[axis]
            widths.append((low, extent - self.stop(axis), step - 1))
        return self.value.pad(tuple(widths), 0) if any(map(any, widths)) else self.value

    def stop(self, axis: int) -> int:
        """The end of the part along an axis."""
        taken = self.value.shape[axis]
        covered = (taken - 1) * self.steps[axis] + 1 if taken else 0
        return self.starts[axis] + covered

    def beside(self, axis: int) -> tuple[Any, ...]:
        """What parts have in common that can be concatenated along the axis."""
        others = [
            (self.starts[i], self.value.shape[i], self.steps[i])
            for i in range(len(self.shape))
            if i != axis
        ]
        return self.steps[axis], *others


def total(parts: Sequence[Any]) -> Any:
    """The sum of cotangents, dense, `Placed` or `Rows`: as a dense one, unless all are `Rows`."""
    rows = [part for part in parts if isinstance(part, Rows)]
    if rows:
        sum_of_rows = joined(rows)
        if len(rows) == len(parts):
            return sum_of_rows
        parts = [*(part for part in parts if not isinstance(part, Rows)), sum_of_rows.dense()]
    placed = [part for part in parts if isinstance(part, Placed)]
    dense = [part for part in parts if not isinstance(part, Placed)]
    if placed:
        dense += [part.dense() for part in (_joined(placed) if len(placed) > 1 else placed)]
    many = getattr(dense[0], "_sum_of_many", None) if len(dense) > 2 else None
    result = None if many is None else many(dense)
    if result is None:
        result = dense[0]
        for part in dense[1:]:
            result = result + part
    return result


def _joined(parts: list[Placed]) -> list[Placed]:
    """Fewer parts with the same sum: neighbours concatenated, along one axis after the other."""
    while True:
        ways = [_along(parts, axis) for axis in range(len(parts[0].shape))]
        best = min(ways, key=len, default=parts)
        if len(best) == len(parts):
            return parts
        parts = best


def _along(parts: list[Placed], axis: int) -> list[Placed]:
    """Parts that differ along one axis alone, concatenated where they do not overlap."""
    kinds: dict[tuple[Any, ...], list[Placed]] = {}
    for part in parts:
        if part.steps[axis] == 1:
            kinds.setdefault(part.beside(axis), []).append(part)
    result = [part for part in parts if part.steps[axis] != 1]
    for alike in kinds.values():
        result += [_concatenated(row, axis) for row in _rows(alike, axis)]
    return result


def _rows(parts: Iterable[Placed], axis: int) -> list[list[Placed]]:
    """Parts in rows: in each, one after the other along the axis, without an overlap."""
    rows: list[list[Placed]] = []
    for part in sorted(parts, key=lambda part: part.starts[axis]):
        row = next((row for row in rows if row[-1].stop(axis) <= part.starts[axis]), None)
        if row is None:
            rows.append([part])
        else:
            row.append(part)
    return rows


def _concatenated(row: list[Placed], axis: int) -> Placed:
    """A row of parts as one, with zeros in the gaps."""
    if len(row) == 1:
        return row[0]
    pieces = [row[0].value]
    for left, right in itertools.pairwise(row):
        gap = right.starts[axis] - left.stop(axis)
        widths = [(gap if i == axis else 0, 0, 0) for i in range(len(right.shape))]
        pieces.append(right.value.pad(tuple(widths), 0) if gap else right.value)
    return replace(row[0], value=pieces[0].concatenate(pieces[1:], axis))
