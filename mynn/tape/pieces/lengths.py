"""`Lengths`: one program for paths of a tape that differ in a length.

    loss = F.cross_entropy(net(x)[mask], labels[mask])        values[mask] = net(states[mask])

How many rows a mask chooses, or how long the longest text of a batch is, makes other types of all
that follows, and so another path. Where the calls are the same, their graphs are the same but for
extents, and the program of a path with room for more rows does for it (`mynn.jit.lengths`): what
comes from before is filled up with copies of its last row, and of the results the rows that are
there are kept. So a new length costs no compiling, and mostly no trace either: two were traced, the
most rows that there is room for and the fewest, and where these graphs are the same with the same
numbers, so is that of any path in between.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mynn.base import forks
from mynn.base.dataclass import dataclass
from mynn.core.types import Array, Shape
from mynn.errors import MynnError
from mynn.tape.calls.step import Step, Target
from mynn.tape.pieces.piece import Piece, make_program, stage
from mynn.tensor import Parameter, Tensor

if TYPE_CHECKING:
    from mynn.jit.lengths.program import JoinedProgram
    from mynn.jit.stage import Staged

# With one row it is another graph mostly.
_LEAST = 2
# Up to so many rows there is room for a power of two.
_FEW = 32
# So many shapes of a family are compared; after so many lengths that did not go together no more
# are tried.
_SHAPES, _FAILED = 8, 4
# So many rooms of a family have programs.
_ROOMS = 16
# Kinds of plain values, which are told by themselves.
_PLAIN = (bool, int, float, str, type(None))
# The axis of each argument along which its rows lie, None where it has none.
_Axes: TypeAlias = tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Room:
    """What lets a path run in a program for more rows.

    - `whole`, `fewer`: the traces that the program was made of.
    - `further`: its arguments behind those of the path.
    - `index`: for each row that there is room for the one that lies there; None where all are
      there. `axes`: for each argument where its rows lie.
    - `cuts`: for each result the part that belongs to the rows; None where it is all of it.
    """

    whole: Staged
    fewer: Staged
    further: Sequence[Array]
    axes: _Axes
    index: Array | None
    cuts: Sequence[tuple[slice, ...] | None]

    def holds(self) -> bool:
        """Whether nothing that decided the traces is another."""
        return self.whole.valid() and self.fewer.valid()

    def filled(self, arrays: Sequence[Array]) -> list[Array]:
        """All arguments of the program, for these of the path."""
        index = self.index
        if index is None:
            return [*arrays, *self.further]
        found = [
            x if axis is None else x.take(index, axis)
            for x, axis in zip(arrays, self.axes, strict=True)
        ]
        return [*found, *self.further]

    def cut(self, results: Sequence[Array]) -> list[Array]:
        """The results, with the rows that are there."""
        return [
            x if part is None else x[part].copy()
            for x, part in zip(results, self.cuts, strict=True)
        ]

    def noting(self, notes: Any) -> Cut:
        """What notes results with the rows that are there."""
        return Cut(self, notes)

    def program(self) -> Any:
        """The program, made anew."""
        made = _joined(self.whole, self.fewer)
        assert made is not None
        return made.program


class Cut:
    """Notes of a run in which results have the rows that are there."""

    def __init__(self, room: Room, notes: Any) -> None:
        self.room = room
        self.notes = notes

    @property
    def begun(self) -> bool:
        """Whether it may have begun to change state."""
        begun: bool = self.notes.begun
        return begun

    @begun.setter
    def begun(self, begun: bool) -> None:
        self.notes.begun = begun

    @property
    def results(self) -> list[Array] | None:
        """What was noted."""
        results: list[Array] | None = self.notes.results
        return results

    @results.setter
    def results(self, results: list[Array] | None) -> None:
        self.notes.results = None if results is None else self.room.cut(results)


class Path:
    """What was recorded, and is to be a program: its calls on these tensors from before, and which
    results and gradients it gives.
    """

    def __init__(
        self,
        step: Step,
        externals: Sequence[Any],
        wanted: Sequence[int],
        trained: Sequence[Target],
        grown: bool,
    ) -> None:
        self.step = step
        self.externals = externals
        self.wanted = tuple(wanted)
        self.trained = trained
        self.grown = grown
        self.copied = [i for i, one in enumerate(externals) if not isinstance(one, Parameter)]
        self.shapes: tuple[Shape, ...] = tuple([externals[i].shape for i in self.copied])

    def rows(self, axes: _Axes) -> int:
        """How many there are."""
        pairs = zip(self.shapes, axes, strict=True)
        return next(shape[axis] for shape, axis in pairs if axis is not None)

    def others(self, axes: _Axes) -> tuple[Shape, ...]:
        """The extents of all other axes."""
        pairs = zip(self.shapes, axes, strict=True)
        return tuple([s if a is None else (*s[:a], -1, *s[a + 1 :]) for s, a in pairs])

    def traced(self) -> Staged:
        """Its trace."""
        return stage(self.step.calls, self.externals, self.wanted, self.trained)

    def traced_with(self, axes: _Axes, rows: int) -> Staged | None:
        """The same for another number of rows; None where a call depends on how many there are."""
        given = list(self.externals)
        for i, axis in zip(self.copied, axes, strict=True):
            if axis is not None:
                given[i] = _stand_in(given[i], axis, rows)
        try:
            return stage(self.step.calls, given, self.wanted, self.trained)
        except MynnError:
            return None

    def piece(self, staged: Staged | None = None) -> Piece:
        """The program for a trace, or for its own."""
        return Piece(self.step, self.externals, self.wanted, self.trained, self.grown, staged)


class Family:
    """Paths of the same calls, whose tensors from before differ in extents.

    - `general`: whether there may be paths of which nothing has to be traced.
    """

    def __init__(self) -> None:
        self.general = False
        self._failed = 0
        self._shapes: deque[tuple[Shape, ...]] = deque(maxlen=_SHAPES)
        # By axes and room, what was made for the most rows and for the fewest.
        self._made: dict[Any, JoinedProgram | None] = {}
        # The last program, which stands in for others of the same code: it has memory already.
        self._program: Any = None

    def piece(self, path: Path) -> Piece:
        """The program for a path: that of one with more rows, where it can be."""
        earlier = list(self._shapes)
        if path.shapes not in earlier:
            self._shapes.appendleft(path.shapes)
        found: Piece | None = None
        for axes in _axes(path.shapes, earlier):
            if found is None and self._failed < _FAILED:
                found = self._general(path, axes, True) or self._own(path, axes)
                self._failed = self._failed + 1 if found is None else 0
        if found is None:
            found = path.piece()
        found.family = self
        return found

    def at_once(self, path: Path) -> Piece | None:
        """The same, where nothing has to be traced."""
        for axes in _axes(path.shapes, self._shapes):
            found = self._general(path, axes, False)
            if found is not None:
                found.family = self
                return found
        return None

    def _general(self, path: Path, axes: _Axes, new: bool) -> Piece | None:
        """A piece in a program for any number of rows between two that were traced; these are
        traced now, where `new`.
        """
        rows = path.rows(axes)
        size, least = bounds(rows)
        key = path.others(axes), axes, size, path.wanted
        if key not in self._made and new and _LEAST <= least < size:
            if len(self._made) >= _ROOMS:
                self._made.clear()
            self._made[key] = self._traced(path, axes, size, least)
        made = self._made.get(key)
        if made is None or not self._holds(made):
            return None
        further = made.further[0] if rows == size else made.further_for(rows)
        if further is None:
            return None
        self.general = True
        return self._fitted(path, axes, made, further, rows)

    def _traced(self, path: Path, axes: _Axes, size: int, least: int) -> JoinedProgram | None:
        whole, fewer = path.traced_with(axes, size), path.traced_with(axes, least)
        return None if whole is None or fewer is None else _joined(whole, fewer)

    def _holds(self, joined: JoinedProgram) -> bool:
        return joined.whole.valid() and joined.fewer.valid()

    def _own(self, path: Path, axes: _Axes) -> Piece | None:
        """A piece in a program for more rows, with numbers that its own trace says."""
        rows = path.rows(axes)
        size, _ = bounds(rows)
        made = self._made.get((path.others(axes), axes, size, path.wanted))
        if made is None or rows == size or not self._holds(made):
            return None
        joined = _joined(made.whole, path.traced())
        if joined is None:
            return None
        return self._fitted(path, axes, joined, joined.further[1], rows)

    def _fitted(
        self,
        path: Path,
        axes: _Axes,
        joined: JoinedProgram,
        further: Sequence[Array],
        rows: int,
    ) -> Piece | None:
        if not joined.has_leading_rows:
            return None
        size = len(joined.further[0][0])
        index = None if rows == size else np.minimum(np.arange(size), rows - 1)
        cuts: list[tuple[slice, ...] | None] = []
        for node, at in zip(joined.whole.graph.outputs, joined.rows, strict=True):
            part: tuple[slice, ...] | None = None
            if at is not None and rows < size:
                part = *[slice(None)] * at.axis, slice(node.shape[at.axis] // size * rows)
            cuts.append(part)
        piece = path.piece(joined.fewer)
        cuts = cuts[: joined.whole.results]
        piece.room = Room(joined.whole, joined.fewer, further, axes, index, cuts)
        piece.program = piece.hold(self._one(joined.program))
        return piece

    def _one(self, program: Any) -> Any:
        """The program, or an earlier one that is equal."""
        known = self._program
        same = known is not None and known.code is program.code and not program.code.dropped
        if not same or any(a is not b for a, b in zip(known.state, program.state, strict=True)):
            self._program = program
        return self._program


def bounds(rows: int) -> tuple[int, int]:
    """How many rows there is room for where so many are, and the fewest that have this room: a
    power of two, or half as many more if they are many.

    Example:
        >>> bounds(20), bounds(32), bounds(33), bounds(60)
        ((32, 17), (32, 17), (48, 33), (64, 49))
    """
    size = 1 << max(rows - 1, 0).bit_length()
    half, more = size // 2, size // 4 * 3
    if size <= _FEW:
        return size, half + 1
    return (more, half + 1) if rows <= more else (size, more + 1)


def _axes(shapes: tuple[Shape, ...], others: Sequence[tuple[Shape, ...]]) -> list[_Axes]:
    """Along which axes shapes differ from others, by one length."""
    with forks.loading:
        from mynn.jit.lengths.calls import differing

    found = [differing(shapes, other) for other in others if other != shapes]
    return list(dict.fromkeys(one for one in found if one is not None))


def _joined(whole: Staged, fewer: Staged) -> JoinedProgram | None:
    """The program for both traces; None where they do not go together."""
    with forks.loading:
        from mynn.jit.lengths.program import joined_program

    def make(staged: Staged, code: Any, twin: Any, graph: Any) -> Any:
        count = len(graph.inputs) - len(staged.state)
        return make_program(graph, count, staged.writes, staged.state, "tape", code, twin)

    return joined_program(make, whole, fewer, None)


def _stand_in(value: Any, axis: int, rows: int) -> Tensor:
    """Something like a tensor, that has so many rows."""
    shape = (*value.shape[:axis], rows, *value.shape[axis + 1 :])
    tensor: Tensor = Tensor.from_value(np.zeros(shape, value.dtype))
    tensor._requires_grad = value.requires_grad
    return tensor


class Lengths:
    """The families of a tape, as long as one of their pieces is there."""

    def __init__(self) -> None:
        self._families: weakref.WeakValueDictionary[Any, Family] = weakref.WeakValueDictionary()
        # Whether any of them has a program for other lengths than those that came.
        self.general = False

    def piece(self, path: Path) -> Piece:
        """The program for a path."""
        family = self._family(path, True)
        assert family is not None
        piece = family.piece(path)
        self.general = self.general or family.general
        return piece

    def at_once(self, path: Path) -> Piece | None:
        """The same for a path that comes for the first time, where nothing has to be traced."""
        family = self._family(path, False)
        return None if family is None or not family.general else family.at_once(path)

    def _family(self, path: Path, new: bool) -> Family | None:
        """That of a path. Whom it takes for equal is told by graphs in the end, so what is gone
        may be mistaken here for what has taken its place.
        """
        calls = [
            (
                _told(call.function),
                call.form.text(),
                call.form.leaves,
                call.gradients,
                call.overwrites,
                None if call.modes is None else [*map(_told, call.modes.items())],
            )
            for call in path.step.calls
        ]
        kinds = [
            id(one) if isinstance(one, Parameter) else (len(one.shape), str(one.dtype))
            for one in path.externals
        ]
        key = repr((calls, kinds, path.wanted, path.grown))
        found = self._families.get(key)
        if found is None and new:
            found = self._families[key] = Family()
        return found


def _told(value: Any) -> Any:
    """What tells a function, or what one was made of, from others."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, tuple | list):
        return tuple(map(_told, value))
    if isinstance(value, dict):
        return tuple((_told(name), _told(one)) for name, one in value.items())
    if type(value).__module__.startswith("mynn.tape."):
        return (type(value), *map(_told, vars(value).values()))
    return id(value)


__all__ = ["Lengths", "Path"]
