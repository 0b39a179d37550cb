"""Checks of values: whether something lies outside its range. Labels, indices, probabilities.

A check is a node like any other, and has a value: true where something is wrong. It takes effect
by standing in `Graph.checks`. Nobody may take a result, or change any state, of a graph in which a
check is true: the interpreter raises what `failure` says, a native program stops before it writes
state (`mynn.compiler.graph.status`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mynn.base import notices
from mynn.core.graph import Array, Node, Primitive, Sample, Type, apply, constant
from mynn.errors import DataError, IndexRangeError
from mynn.ops import elementwise, movement, reduce
from mynn.ops.rules import require_kind


def wrong_places(x: Array, low: float, high: float, ignore: int | None = None) -> Array:
    """True where a value lies outside low..high and is not the one to ignore. NaN lies outside."""
    inside = (x >= low) & (x <= high)
    return np.asarray(~inside if ignore is None else ~(inside | (x == ignore)))


def _infer(x: Type, **params: Any) -> Type:
    require_kind("outside", x, "fiu")
    return Type((), np.dtype(bool))


def _numpy(x: Array, low: float, high: float, ignore: int | None, **words: Any) -> Any:
    return np.asarray(wrong_places(x, low, high, ignore).any())


def _expand(x: Node, low: float, high: float, ignore: int | None, **words: Any) -> Node:
    """The smallest distance from the ends of the range, which is negative outside of it.

    Where the difference of two integers wraps around, it becomes negative: `low` is at most 0, so
    that only values above the range get there.
    """
    kind, never = x.dtype.kind, constant(np.zeros((), bool))
    limits = np.iinfo(x.dtype) if kind != "f" else None
    if not x.type.size:
        return never

    def like(value: float) -> Node:
        number = constant(np.full((1,) * len(x.shape), value, x.dtype))
        return apply(movement.broadcast_to, number, shape=x.shape) if x.shape else number

    if ignore is not None and (limits is None or limits.min <= ignore <= limits.max):
        skipped = apply(elementwise.equal, x, like(ignore))
        x = apply(elementwise.where, skipped, like(0), x)
    if kind == "u":
        if limits is not None and high >= limits.max:
            return never
        return apply(elementwise.less, constant(np.asarray(high, x.dtype)), _all(reduce.max, x))
    below = apply(elementwise.sub, x, like(low)) if low else x
    above = apply(elementwise.sub, like(high), x)
    least = _all(reduce.min, apply(elementwise.minimum, below, above))
    fine = apply(elementwise.less_equal, constant(np.zeros((), x.dtype)), least)
    return apply(elementwise.equal, fine, never)


def _all(primitive: Primitive, x: Node) -> Node:
    return apply(primitive, x, axes=tuple(range(len(x.shape)))) if x.shape else x


def _samples(rng: np.random.Generator) -> list[Sample]:
    def sample(x: Any, low: float, high: float, ignore: int | None = None) -> Sample:
        words = {"name": "f", "kind": "labels", "axis": 0, "warns": False}
        return Sample((np.asarray(x),), {"low": low, "high": high, "ignore": ignore, **words})

    numbers = rng.integers(0, 5, (3, 17))
    return [
        sample(numbers, 0, 4),
        sample(numbers, 0, 3),
        sample(numbers - 2, -2, 2),
        sample(np.where(numbers == 3, -100, numbers), 0, 4, -100),
        sample(numbers[0, 0], 0, 4),
        sample(np.zeros((0, 3), np.int64), 0, 1),
        sample(np.array([0, 2**63 - 1]), -5, 4),
        sample(np.array([0, -(2**63)]), -5, 4),
        sample(rng.random((40,)), 0.0, 1.0),
        sample(np.array([0.5, 1.5, 0.0]), 0.0, 1.0),
    ]


# true where any value of x lies outside low..high and is not `ignore`; `name`, `kind`, `axis` and
# `warns` are for the message
outside = Primitive("outside", "check", _infer, _numpy, None, _samples, _expand)


@dataclass(frozen=True)
class Failure:
    """A check that failed: what it says, the node that was looked at, and the index in it."""

    check: Node
    index: tuple[int, ...]
    text: str
    source: str | None

    @property
    def warns(self) -> bool:
        """Whether it is worth a warning only."""
        return bool(self.check.params["warns"])

    def warn(self) -> None:
        """Warn, once for each line."""
        file, _, line = (self.source or "").rpartition(":")
        place = notices.Place(file, int(line)) if line.isdigit() else None
        notices.warn(self.check.params["kind"], self.text, place, UserWarning)

    def error(self, where: str = "") -> DataError | IndexRangeError:
        """What is to be raised; `where` says in which part of the data it was found."""
        kind = IndexRangeError if self.check.params["kind"] == "index" else DataError
        return kind(self.text + where)


def failure(check: Node, value: Array, source: str | None = None) -> Failure | None:
    """What is wrong with `value`, which `check` looks at; None where all of it is in range."""
    params = check.params
    wrong = wrong_places(value, params["low"], params["high"], params["ignore"])
    if not wrong.any():
        return None
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    text = _WORDS[params["kind"]](params, value[index].item(), f" at {index}" if index else "")
    source = source or check.source
    made = f" (called at {source})" if source else ""
    return Failure(check, index, f"{params['name']}: {text}{made}", source)


def _labels(params: Mapping[str, Any], value: Any, place: str) -> str:
    last = params["high"]
    hint = " (give ignore_index=-100 to skip it)" if value == -100 else ""
    return f"labels must lie in 0..{last} for {last + 1} classes, there is {value}{place}{hint}"


def _index(params: Mapping[str, Any], value: Any, place: str) -> str:
    low, high = params["low"], params["high"]
    return (
        f"index {value}{place} is out of range for axis {params['axis']} of extent {high + 1}: "
        f"indices lie in {low}..{high}"
    )


def _probabilities(params: Mapping[str, Any], value: Any, place: str) -> str:
    return (
        f"targets must lie in 0..1, there is {value:.9g}{place}; outside of it this is no cross "
        "entropy, and the loss may have no least value"
    )


_WORDS = {"labels": _labels, "index": _index, "probabilities": _probabilities}

PRIMITIVES = (outside,)
