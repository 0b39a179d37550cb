"""Programs of joined graphs: which were made, and whether a smaller batch is worth its own."""

from __future__ import annotations

import operator
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from mynn import debug
from mynn.base import forks
from mynn.base.lazy import lazy
from mynn.core.graph import Graph
from mynn.core.types import Array
from mynn.jit.lengths.axis import NotAlike
from mynn.jit.lengths.joined import Joined, join
from mynn.jit.stage import Staged
from mynn.target.storage import allocate

# A program of its own for the smaller batch takes about so long to make.
_WORTH_SECONDS = 0.2
# Operations a second of one thread, to reckon with.
_SPEED = 2e10
# Graphs that are kept joined.
_MOST = 64


class Rules:
    """What follows from a joined graph, and is the same for all its programs."""

    def __init__(self, joined: Joined) -> None:
        self.joined = joined
        self.further = tuple([_native(values) for values in (joined.whole, joined.fewer)])
        self.rows = joined.rows
        outputs = zip(joined.graph.outputs, joined.rows, strict=True)
        self.has_leading_rows = all(
            rows is None
            or rows.after is None
            or node.shape[rows.axis] == rows.after * len(joined.whole[0])
            for node, rows in outputs
        )
        self.missing = 1 - float(joined.fewer[0].mean())


class JoinedProgram:
    """A program for whole batches and for smaller ones.

    - `whole`, `fewer`: the traces for either; `further`: what the arguments behind those of the
      step are for either.
    - `rows`: where the rows of each output lie; `has_leading_rows`: whether those that are there
      come first.
    """

    def __init__(self, whole: Staged, fewer: Staged, rules: Rules, program: Any) -> None:
        self.whole = whole
        self.fewer = fewer
        self.further = rules.further
        self.program = program
        self.rows = rules.rows
        self.has_leading_rows = rules.has_leading_rows
        self._joined = rules.joined
        self._missing = rules.missing
        self._batches = 0

    def further_for(self, rows: int) -> tuple[Array, ...] | None:
        """The further arguments for another number of rows between those of the traces; None where
        more than that is to be known.
        """
        return _native(self._joined.values(rows)) if self._joined.general else None

    def is_worth(self, batches: int | None) -> bool:
        """Whether it is, for so many batches of fewer rows: what is computed for rows that are not
        there takes less time than another program would take to make. None: for one more batch,
        after all of which that was said before.

        That is reckoned, not measured: where a clock decided, the last bits of a training would be
        others in each run. Nor do they depend on what was trained before.
        """
        if batches is None:
            self._batches += 1
        count = self._batches if batches is None else batches
        lost = count * self._missing * self.program.operations / _SPEED
        return bool(lost <= _WORTH_SECONDS)


def _native(values: tuple[Array, ...]) -> tuple[Array, ...]:
    """The same where native code can read it."""
    copies = [allocate(value.shape, value.dtype) for value in values]
    for copy, value in zip(copies, values, strict=True):
        copy[...] = value
    return tuple(copies)


class _Made:
    """A joined graph, None where the two do not go together, and the code that was made of it."""

    def __init__(self, joined: Joined | None) -> None:
        self.joined = joined
        self.code: Any = None

    @lazy
    def rules(self) -> Rules:
        """What follows from the graph."""
        assert self.joined is not None
        return Rules(self.joined)

    def forget(self, code: Any) -> None:
        """The store of programs drops the code."""
        if self.code is code:
            self.code = None


_made: OrderedDict[tuple[Graph, Graph], _Made] = OrderedDict()
_lock = forks.register(threading.RLock())


def _joined(whole: Staged, fewer: Staged) -> _Made:
    key = whole.graph, fewer.graph
    with _lock:
        found = _made.get(key)
        if found is None:
            try:
                found = _Made(join(whole.graph, fewer.graph, len(whole.arguments)))
            except NotAlike as reason:
                if debug.level():
                    debug.say(f"mynn: a program of its own for the smaller batch: {reason}")
                found = _Made(None)
            _made[key] = found
            while len(_made) > _MOST:
                _made.popitem(last=False)
        _made.move_to_end(key)
        return found


def joined_program(
    make: Callable[..., Any], whole: Staged, fewer: Staged, twin: Any
) -> JoinedProgram | None:
    """The program for two traces, by `make(staged, code, twin, graph)`; None where they do not go
    together.
    """
    if not _alike(whole, fewer):
        return None
    found = _joined(whole, fewer)
    if found.joined is None:
        return None
    program = make(whole, found.code, twin, found.joined.graph)
    if found.code is not program.code:
        found.code = program.code
        program.code.holders.add(found)
    return JoinedProgram(whole, fewer, found.rules, program)


def _alike(whole: Staged, fewer: Staged) -> bool:
    """Whether both read and write the same state, and give the same results."""
    pairs = (whole.state, fewer.state), (whole.written, fewer.written)
    return (
        all(len(a) == len(b) and all(map(operator.is_, a, b)) for a, b in pairs)
        and (whole.structure, whole.results) == (fewer.structure, fewer.results)
        and list(whole.writes.values()) == list(fewer.writes.values())
    )
