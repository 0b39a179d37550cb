"""Indices of the loop IR: sums of variables times constants."""

from __future__ import annotations

from collections.abc import Iterable

from mynn.base.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Affine:
    """An integer: constant + sum of coefficient * variable. The terms are sorted by variable."""

    constant: int = 0
    terms: tuple[tuple[str, int], ...] = ()

    @staticmethod
    def var(name: str, coefficient: int = 1) -> Affine:
        """coefficient * name."""
        return Affine(0, ((name, coefficient),)) if coefficient else ZERO

    def __add__(self, other: Affine | int) -> Affine:
        if isinstance(other, int):
            if not other:
                return self
            return Affine(self.constant + other, self.terms)
        if not other.terms:
            return Affine(self.constant + other.constant, self.terms)
        if not self.terms:
            return Affine(self.constant + other.constant, other.terms)
        sums = dict(self.terms)
        for name, coefficient in other.terms:
            sums[name] = sums.get(name, 0) + coefficient
        terms = tuple(sorted([term for term in sums.items() if term[1]]))
        return Affine(self.constant + other.constant, terms)

    def __mul__(self, factor: int) -> Affine:
        if factor == 1:
            return self
        if factor == 0:
            return ZERO
        return Affine(self.constant * factor, tuple([(name, c * factor) for name, c in self.terms]))

    def __neg__(self) -> Affine:
        return self * -1

    def coefficient(self, name: str) -> int:
        """What `name` is multiplied by."""
        for var, c in self.terms:
            if var == name:
                return c
        return 0

    def without(self, name: str) -> Affine:
        """The rest, where `name` is 0."""
        return Affine(self.constant, tuple(term for term in self.terms if term[0] != name))

    def __str__(self) -> str:
        parts = [name if c == 1 else f"{c}*{name}" for name, c in self.terms]
        if self.constant or not parts:
            parts.append(str(self.constant))
        return " + ".join(parts)


ZERO = Affine()
# For each axis of a value, the place of an element.
Index = tuple[Affine, ...]


def dot(index: Iterable[Affine], steps: Iterable[int], start: int = 0) -> Affine:
    """start + the sum of step * index over all axes."""
    sums: dict[str, int] = {}
    for i, step in zip(index, steps, strict=True):
        if step:
            start += i.constant * step
            for name, c in i.terms:
                sums[name] = sums.get(name, 0) + c * step
    return Affine(start, tuple(sorted([term for term in sums.items() if term[1]])))
