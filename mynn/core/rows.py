"""Cotangents of tables of which a few rows were read."""

from __future__ import annotations

from typing import Any

from mynn.base.dataclass import dataclass


@dataclass(frozen=True)
class Rows:
    """Zeros of `extent` rows, to which `values` [N, ...] are added at the rows `index` [N]."""

    index: Any
    values: Any
    extent: int

    def dense(self) -> Any:
        """The whole table."""
        return self.values.scatter_rows(self.index, 0, self.extent, clip=True)


def joined(parts: list[Rows]) -> Rows:
    """The sum of several, row by row in their order."""
    first, others = parts[0], parts[1:]
    if not others:
        return first
    index = first.index.concatenate([part.index for part in others], 0)
    return Rows(index, first.values.concatenate([p.values for p in others], 0), first.extent)
