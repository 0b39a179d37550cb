"""Calls with any number of rows: `mynn.compile(function, dynamic=True)`.

Batches have room for 2, 3, 4, 6, 8, 12, 16... rows, and there is one program for each of these
numbers. A call with fewer rows is traced once for its number, filled up with copies of its last
row, and runs in the program of the batches that it fits in.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mynn.base import recording
from mynn.base.dataclass import dataclass
from mynn.base.structure import flatten, rebuild
from mynn.core.types import Array
from mynn.jit.known import Beside
from mynn.jit.lengths.axis import Rows
from mynn.jit.lengths.lookup import Lengths
from mynn.jit.stage import Staged, is_flat, signature_of
from mynn.tensor import as_array

if TYPE_CHECKING:
    from mynn.jit.lengths.program import JoinedProgram

# With one row it is another graph mostly.
_LEAST = 2


def room_for(rows: int) -> int:
    """The least number of rows that batches have room for: a power of two, or half as many more.

    Example:
        >>> [room_for(rows) for rows in (2, 3, 5, 7, 9, 33, 49)]
        [2, 3, 6, 8, 12, 48, 64]
    """
    room = 1 << (rows - 1).bit_length()
    less = room // 4 * 3
    return less if rows <= less else room


@dataclass(frozen=True, eq=False)
class Ready:
    """What runs calls with so many rows, in batches with room for `room` of them.

    - `cuts`: for each result the part that belongs to the rows; None where it is all of it.
    """

    joined: JoinedProgram
    program: Any
    rows: int
    room: int
    cuts: tuple[tuple[slice, ...] | None, ...]

    @property
    def staged(self) -> Staged:
        """The trace for this number of rows."""
        return self.joined.whole if self.rows == self.room else self.joined.fewer

    def holds(self) -> bool:
        """Whether nothing that decided the traces is another."""
        return self.joined.whole.valid() and self.joined.fewer.valid()

    def run(self, arrays: Sequence[Array]) -> Any:
        """The results, in the form that the function returned."""
        rows, program = self.rows, self.program
        further = self.joined.further[rows < self.room]
        program.code.touched = True
        instance = program.take()
        try:
            places = instance.arguments
            for place, value in zip(places, arrays, strict=False):
                place[:rows] = value
                if rows < self.room:
                    place[rows:] = value[-1]
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


class Calls:
    """What runs the calls of a function, whatever the number of rows."""

    def __init__(self, lengths: Lengths) -> None:
        self._lengths = lengths
        self._ready: dict[Any, Ready] = {}
        self._apart: set[Any] = set()
        self._programs: dict[Any, Any] = {}

    def __call__(self, arguments: tuple[Any, ...]) -> Callable[[], Any] | None:
        """What gives the results; None where these arguments need a program of their own."""
        signature = signature_of(arguments)
        ready = self._ready.get(signature)
        flat = is_flat(arguments)
        if ready is None or not ready.holds() or ready.program.code.dropped:
            if signature in self._apart:
                return None
            ready = self._found(signature, arguments)
            if ready is None:
                self._apart.add(signature)
                return None
            self._ready[signature] = ready
        if recording.waiting:
            recording.settle()
        arrays = arguments if flat else [as_array(leaf) for leaf in flatten(arguments)]
        return functools.partial(ready.run, arrays)

    def _found(self, signature: Any, arguments: tuple[Any, ...]) -> Ready | None:
        leaves = [as_array(leaf) for leaf in flatten(arguments)]
        counts = {leaf.shape[:1] for leaf in leaves}
        if len(counts) != 1 or () in counts or (rows := counts.pop()[0]) < _LEAST:
            return None
        room = room_for(rows)
        index = np.minimum(np.arange(room), rows - 1)
        first = rebuild(arguments, (leaf[index] for leaf in leaves))
        fewer = rebuild(arguments, (leaf[: min(rows, room - 1)] for leaf in leaves))
        joined = self._lengths.lookup(first, fewer, lambda staged: None, Beside(), False)
        if joined is None or not joined.has_leading_rows:
            return None
        program = joined.program
        same = self._programs.get(program.code)
        if same is not None and same.state == program.state:
            program = same  # its runs have memory already
        self._programs[program.code] = program
        cuts = [
            None if at is None or rows == room else (*(slice(None),) * at.axis, slice(extent))
            for at, extent in self._extents(joined)
        ]
        return Ready(joined, program, rows, room, tuple(cuts))

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
