"""What is looked at again and again: known calls are run with as little around them as can be.

An agent looks at each action, a loop at each loss. What `Waiting._flush` does for all that can wait
is written out here for the piece that mostly comes: it was run before, its program changes nothing
but its results, and nobody else has to do with it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mynn.base import recording
from mynn.core.types import Array
from mynn.errors import MynnError
from mynn.tape.calls.step import SETS, Step
from mynn.tape.gradients.kept import remembered
from mynn.tape.gradients.run import Run
from mynn.tape.pieces.piece import Piece
from mynn.tape.pieces.results import Views, give_values, give_views
from mynn.tensor import Parameter, Tensor
from mynn.trace import tracing

# A first call whose result was looked at so many times, and not used before, is run as it comes.
LOOKS = 8
activity, waiting, get_ident = tracing.activity, recording.waiting, threading.get_ident


class Known(NamedTuple):
    """A piece, the results that it makes, and those that somebody holds and that look at others."""

    piece: Piece
    made: tuple[int, ...]
    views: Views


def learn(step: Step, held: Sequence[bool], piece: Piece) -> None:
    """The piece has run for these results; the next time it is run here, if that can be."""
    changes = step.written or step.trained or step.asking or step.buffers
    if changes or step.stepped or step.assigned or step.replacing:
        return
    if step.known is None or len(step.known) >= SETS:
        step.known = {}
    views = tuple([view for view in step.views if held[view[0]]])
    step.known[tuple(held)] = Known(piece, piece.wanted, views)


def look(tape: Any) -> bool:
    """Run what waits, where it is such a piece; whether that was done.

    The lock of the tape is not taken: `busy` keeps other threads away, as while a call is recorded.
    An exception from a signal handler leaves the calls waiting, or done.
    """
    step = tape.position
    if (
        step.known is None
        or tape.tidied is not step
        or tape.busy
        or tape.stopped
        or tape.hidden
        or tape.rows
        or tape.replaced
        or tape.taken
        or activity.told
        or len(waiting) != 1
        or waiting[0] is not tape
        or get_ident() != tape.ident
    ):
        return False
    tape.busy = True
    try:
        return not tape.claimed and _run(tape, step)
    finally:
        tape.busy = False


def _run(tape: Any, step: Step) -> bool:
    turn = tape.turn = object()
    outputs, externals = tape.outputs, tape.externals
    held = tape.alive(step)
    known = step.known.get(tuple(held))
    if known is None:
        return False
    piece, call = known.piece, known.piece.quick
    if call is None or not piece.holds():
        return False
    try:
        values = call(piece.arrays(externals))
    except MynnError:
        return False  # run as ever it says what is wrong
    if values is None:
        return False
    run: Run | None = None
    if piece.grown:
        run = Run(step, _kept(step, externals, held), (), step.marks(piece.access))
    fresh: list[Any] = []
    seen = set[int]()
    # No signal handler runs from here on until nothing waits.
    if tape.turn is not turn or tape.position is not step:  # known calls do not change the turn
        return False
    tape.position = tape.tidied = tape.root
    tape.externals, tape.index, tape.outputs, tape.places = fresh, {}, [], {}
    tape.memories = fresh, 0, seen
    try:
        _give(known, outputs, externals, values, run)
    except BaseException:
        _give(known, outputs, externals, values, run)
        raise
    finally:
        if tape.position is tape.root and tape in waiting:
            waiting.remove(tape)
    count_run(tape, step, piece)
    return True


def count_run(tape: Any, step: Step, piece: Piece) -> None:
    """A piece has run once more: what the tape makes of that."""
    tape.credit.gain(len(step.calls))
    tape.note_run(len(step.calls))
    if step.slots == 1 and len(step.calls) == 1 and piece.wanted:
        step.looked += 1
        if step.looked >= LOOKS and not piece.grown and not step.written:
            step.ready = piece


def _kept(step: Step, externals: list[Any], held: Sequence[bool]) -> list[Any]:
    """`remembered`, which mostly is what there was."""
    for value in externals:
        kind = type(value)
        if kind is Tensor:
            if value._requires_grad or value._view is not None:
                return remembered(step, externals, held)
        elif kind is not Parameter and kind is not np.ndarray:
            return remembered(step, externals, held)
    return externals


def _give(
    known: Known,
    outputs: Sequence[Tensor],
    externals: Sequence[Any],
    values: Sequence[Array],
    run: Run | None,
) -> None:
    """The results get their values; also a second time."""
    give_values(known.made, outputs, values, run)
    if known.views:
        give_views(known.views, outputs, externals, run)
