"""Calls with any number of rows or steps: `mynn.compile(function, dynamic=True)`.

Batches have room for 2, 3, 4, 6, 8, 12, 16... rows, and there is one program for each of these
numbers. A call with fewer rows is traced once for its number, filled up with copies of its last
row, and runs in the program of the batches that it fits in.

What is called rows here lies along any axis: along that in which the arguments differ from those of
an earlier call, texts [32, 20] from texts [32, 17]; for a first call along the first axis of all.
"""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mynn.base import recording
from mynn.base.dataclass import dataclass
from mynn.base.structure import flatten, rebuild
from mynn.core.types import Array, Shape
from mynn.jit.known import Beside
from mynn.jit.lengths.axis import Rows
from mynn.jit.lengths.lookup import Lengths
from mynn.jit.stage import Staged, is_flat, signature_of
from mynn.tensor import as_array

if TYPE_CHECKING:
    from mynn.jit.lengths.program import JoinedProgram

# With one row it is another graph mostly.
_LEAST = 2
# Shapes of earlier calls that are looked at.
_EARLIER = 16

_Part = tuple[slice, ...]
# The axis of each argument along which its rows lie, None where it has none.
_Axes = tuple[int | None, ...]


def room_for(rows: int) -> int:
    """The least number of rows that batches have room for: a power of two, or half as many more.

    Example:
        >>> [room_for(rows) for rows in (2, 3, 5, 7, 9, 33, 49)]
        [2, 3, 6, 8, 12, 48, 64]
    """
    room = 1 << (rows - 1).bit_length()
    less = room // 4 * 3
    return less if rows <= less else room


def differing(shapes: Sequence[Shape], others: Sequence[Shape]) -> _Axes | None:
    """The axis of each shape in which it differs from another one; None unless there is one at the
    most, and they all differ by the same extents.

    Example:
        >>> differing([(32, 17, 8), (32,)], [(32, 20, 8), (32,)])
        (1, None)
        >>> differing([(32, 17)], [(20, 20)]) is None
        True
    """
    axes: list[int | None] = []
    extents = set()
    for shape, other in zip(shapes, others, strict=True):
        if len(shape) != len(other):
            return None
        found = [
            axis for axis, pair in enumerate(zip(shape, other, strict=True)) if pair[0] != pair[1]
        ]
        if len(found) > 1:
            return None
        extents |= {(shape[axis], other[axis]) for axis in found}
        axes.append(found[0] if found else None)
    return tuple(axes) if len(extents) == 1 else None


def _form(arguments: tuple[Any, ...], leaves: Sequence[Array]) -> Any:
    """What calls have in common whose shapes are compared: their nesting, and the dtypes."""
    return (
        repr(rebuild(arguments, itertools.repeat(None))),
        tuple([leaf.dtype for leaf in leaves]),
    )


@dataclass(frozen=True, eq=False)
class Ready:
    """What runs calls with so many rows, in batches with room for `room` of them.

    - `cuts`: for each result the part that belongs to the rows; None where it is all of it.
    - `fills`: for each argument the part where it goes, and where copies of its last row go.
    """

    joined: JoinedProgram
    program: Any
    rows: int
    room: int
    cuts: tuple[_Part | None, ...]
    fills: tuple[tuple[_Part, _Part | None], ...]

    @property
    def staged(self) -> Staged:
        """The trace for this number of rows."""
        return self.joined.whole if self.rows == self.room else self.joined.fewer

    def holds(self) -> bool:
        """Whether nothing that decided the traces is another."""
        return self.joined.whole.valid() and self.joined.fewer.valid()

    def filled(self, arrays: Sequence[Array]) -> list[Array]:
        """All arguments of the program, for these of the function."""
        index = np.minimum(np.arange(self.room), self.rows - 1)
        found = [
            x if missing is None else x.take(index, len(missing) - 1)
            for x, (_, missing) in zip(arrays, self.fills, strict=True)
        ]
        return [*found, *self.joined.further[self.rows < self.room]]

    def run(self, arrays: Sequence[Array]) -> Any:
        """The results, in the form that the function returned."""
        rows, program = self.rows, self.program
        further = self.joined.further[rows < self.room]
        program.code.touched = True
        instance = program.take()
        try:
            places = instance.arguments
            for place, value, (there, missing) in zip(places, arrays, self.fills, strict=False):
                place[there] = value
                if missing is not None:
                    place[missing] = value[*missing[:-1], -1:]
            for place, value in zip(places[-len(further) :], further, strict=True):
                place[...] = value
            access = program.access
            if access is None:
                instance.run()
            elif access.written:
                access.alone(instance.run)
            else:
                access.run(instance.run)
            results = [
                place.copy() if cut is None else place[cut].copy()
                for place, cut in zip(instance.outputs, self.cuts, strict=False)
            ]
        finally:
            program.free.append(instance)
        return results[0] if self.staged.structure == 0 else self.staged.bundle(results)


def _along(axis: int, part: slice) -> _Part:
    """A part of an axis."""
    return (*(slice(None),) * axis, part)


def _filled(axis: int | None, rows: int, room: int) -> tuple[_Part, _Part | None]:
    """Where an argument goes that has so many rows, and where copies of its last one go."""
    if axis is None:
        return (), None
    missing = _along(axis, slice(rows, None)) if rows < room else None
    return _along(axis, slice(rows)), missing


class Calls:
    """What runs the calls of a function, whatever the number of rows."""

    def __init__(self, lengths: Lengths) -> None:
        self._lengths = lengths
        self._ready: dict[Any, Ready] = {}
        self._apart: set[Any] = set()
        self._shapes: dict[Any, deque[tuple[Shape, ...]]] = {}
        self._programs: dict[Any, Any] = {}

    def __call__(self, arguments: tuple[Any, ...]) -> Callable[[], Any] | None:
        """What gives the results; None where these arguments need a program of their own."""
        flat = is_flat(arguments)
        ready = self.ready(arguments)
        if ready is None:
            return None
        if recording.waiting:
            recording.settle()
        arrays = arguments if flat else [as_array(leaf) for leaf in flatten(arguments)]
        return functools.partial(ready.run, arrays)

    def ready(self, arguments: tuple[Any, ...]) -> Ready | None:
        """What runs such arguments; None where they need a program of their own."""
        signature = signature_of(arguments)
        ready = self._ready.get(signature)
        if ready is None or not ready.holds() or ready.program.code.dropped:
            if signature in self._apart:
                return None
            ready = self._found(arguments)
            if ready is None:
                self._apart.add(signature)
                return None
            self._ready[signature] = ready
        return ready

    def note(self, arguments: tuple[Any, ...]) -> None:
        """Later arguments are compared with these, which others run."""
        self._earlier(arguments, [as_array(leaf) for leaf in flatten(arguments)])

    def _earlier(
        self, arguments: tuple[Any, ...], leaves: Sequence[Array]
    ) -> list[tuple[Shape, ...]]:
        """The shapes of earlier calls, the latest first; these are noted behind them."""
        shapes = tuple([leaf.shape for leaf in leaves])
        known = self._shapes.setdefault(_form(arguments, leaves), deque(maxlen=_EARLIER))
        earlier = list(known)
        if shapes not in known:
            known.appendleft(shapes)
        return earlier

    def _found(self, arguments: tuple[Any, ...]) -> Ready | None:
        leaves = [as_array(leaf) for leaf in flatten(arguments)]
        shapes = [leaf.shape for leaf in leaves]
        compared = [differing(shapes, other) for other in self._earlier(arguments, leaves)]
        every = [axes for axes in compared if axes is not None]
        if () not in shapes and len({shape[0] for shape in shapes}) == 1:
            every.append((0,) * len(shapes))
        for axes in dict.fromkeys(every):
            ready = self._joined(arguments, leaves, axes)
            if ready is not None:
                return ready
        return None

    def _joined(self, arguments: tuple[Any, ...], leaves: list[Array], axes: _Axes) -> Ready | None:
        """What runs these arguments, whose rows lie along these axes."""
        rows = next(x.shape[n] for x, n in zip(leaves, axes, strict=True) if n is not None)
        if rows < _LEAST:
            return None
        room = room_for(rows)

        def given(index: Array) -> Any:
            pairs = zip(leaves, axes, strict=True)
            taken = [x if axis is None else x.take(index, axis) for x, axis in pairs]
            return rebuild(arguments, iter(taken))

        first = given(np.minimum(np.arange(room), rows - 1))
        fewer = given(np.arange(min(rows, room - 1)))
        joined = self._lengths.lookup(first, fewer, lambda staged: None, Beside(), False)
        if joined is None or not joined.has_leading_rows:
            return None
        program = joined.program
        same = self._programs.get(program.code)
        if same is not None and same.state == program.state:
            program = same  # its runs have memory already
        self._programs[program.code] = program
        cuts = [
            None if at is None or rows == room else _along(at.axis, slice(extent))
            for at, extent in self._extents(joined)
        ]
        fills = [_filled(axis, rows, room) for axis in axes]
        return Ready(joined, program, rows, room, tuple(cuts), tuple(fills))

    def _extents(self, joined: JoinedProgram) -> list[tuple[Rows | None, int]]:
        """For each result where its rows lie, and how far those that are there go."""
        outputs = joined.fewer.graph.outputs[: joined.fewer.results]
        pairs = zip(outputs, joined.rows, strict=False)
        return [(at, 0 if at is None else node.shape[at.axis]) for node, at in pairs]

    def forget(self, code: Any) -> None:
        """The store of programs drops this code."""
        self._programs.pop(code, None)
        for signature, ready in list(self._ready.items()):
            if ready.program.code is code:
                self._ready.pop(signature, None)
