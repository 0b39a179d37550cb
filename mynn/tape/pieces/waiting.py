"""`Waiting`: what a tape has recorded and not run yet, and how it is run."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice, repeat
from sys import getrefcount
from types import CodeType
from typing import Any

from mynn.base import forks, recording
from mynn.errors import MynnError
from mynn.tape.calls.call import Beyond, Slot
from mynn.tape.calls.masks import Masks
from mynn.tape.calls.quick import Quick
from mynn.tape.calls.step import SETS, Step
from mynn.tape.pieces.credit import Credit
from mynn.tape.pieces.lengths import Lengths, Path
from mynn.tape.pieces.look import count_run, learn, look
from mynn.tape.pieces.output import Elsewhere, memory_of
from mynn.tape.pieces.piece import Piece
from mynn.tape.pieces.reasons import MANY, Reasons
from mynn.tape.pieces.results import (
    Progress,
    Replacement,
    Rows,
    call_by_call,
    fail,
    finish,
    give_back,
    only_held,
    run_noted,
    target_of,
    write_rows,
)
from mynn.tape.pieces.trial import Trial, times_before
from mynn.tensor import Parameter, Tensor
from mynn.tensor.gradients.history import array_of
from mynn.trace import tracing

# How many hold a tensor that nobody but the list holds it is in, where they are counted.
(ALONE,) = [getrefcount(one) for one in [object()]]
# The size of all steps that a tape has come to (`Step.size`), after which it begins a new tree:
# 60,000 steps with a few calls before each.
MOST = 2**22
# Seconds until a thread looks again whether another one records.
_PAUSE = 2e-5
activity = tracing.activity


class Waiting(Quick):
    """The calls of one thread that wait, the tensors that wait for them, and the fields of others
    that are not set until they have run.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lock = forks.register(threading.RLock())
        # Whether the thread of this tape is recording a call, and whether another one has the lock
        # and runs what was recorded. Each says so before it looks at the other: that is a tenth of
        # the time of a lock, which is taken for each run and not for each call.
        self.busy = False
        self.claimed = False
        self.ident = threading.get_ident()
        self.thread = weakref.ref(threading.current_thread())
        self.root = Step(None, None, None)
        # Another object whenever a call is begun to be recorded, or all are run.
        self.turn = object()
        self.position = self.root
        # The size of all steps since the root.
        self.size = 0
        self.externals: list[Any] = []
        self.index: dict[int, int] = {}
        self.outputs: list[Tensor] = []
        # Where calls stand in which something may be wrong.
        self.places: dict[int, tuple[CodeType, int]] = {}
        # The position, where nothing is going on, and nothing is left of calls that were begun.
        self.tidied: Step | None = self.root
        # By tensor and name: fields that are not set, with what was there.
        self.hidden: dict[tuple[int, str], list[Any]] = {}
        # Parameters whose gradients became results, with the gradients before and their values.
        self.taken: list[Any] = []
        # Tensors from before that became results.
        self.replaced: list[Replacement] = []
        # Rows of tensors from before that get results, in this order: tensor, index, slot.
        self.rows: list[Rows] = []
        # Of the externals up to a number, the tensors in whose memory they lie.
        self.memories: tuple[list[Any], int, set[int]] = self.externals, 0, set()
        # How many programs were made, none of an update, by the steps that they begin with.
        self.made: weakref.WeakKeyDictionary[Step, int] = weakref.WeakKeyDictionary()
        self.reasons = Reasons()
        self.credit = Credit()
        self.masks = Masks()
        self.lengths = Lengths()
        # What is being run: step and externals.
        self.running: tuple[Step, list[Any]] | None = None
        # Whether the last run was interrupted before anything had changed.
        self.stopped = False

    def has_ended(self) -> bool:
        """Whether the thread of this tape is no more."""
        thread = self.thread()
        return thread is None or not thread.is_alive()

    def _tidy(self) -> None:
        """Drop what is left of calls that were begun, unless a handler came between and did so."""
        step = self.position
        if len(self.externals) > step.externals:
            left = map(id, islice(self.externals, step.externals, None))
            gone = map(self.index.pop, left, repeat(None))
            if self.position is step:
                deque(gone, maxlen=0)
            if self.position is step:
                del self.externals[step.externals :]
        if len(self.outputs) > step.slots and self.position is step:
            del self.outputs[step.slots :]

    def reads(self, tensor: Any) -> bool:
        """Whether what was recorded reads or changes the memory of a tensor that is no view."""
        number, step = id(tensor), self.position
        if isinstance(tensor, Parameter) or number in self.index:
            return True
        if (number, "_value") in self.hidden or (number, "_grad") in self.hidden:
            return True
        state = (*step.buffers, *step.written)
        if state and any(one is tensor for one in state):
            return True
        externals, seen, memories = self.memories
        if externals is not self.externals:
            externals, seen, memories = self.externals, 0, set()
        if seen < step.externals:
            memories.update([id(memory_of(one)) for one in externals[seen : step.externals]])
            seen = step.externals
        self.memories = externals, seen, memories
        return number in memories

    def has_changed(self) -> bool:
        """Whether what a gradient may need, or goes to, has other values from now on."""
        return self.position.assigned or any(one.needed for one in self.replaced)

    def puts_off(self, state: Sequence[Any]) -> bool:
        """Whether one of these tensors, which a call reads where they lie, gets results."""
        targets = [row[0] for row in self.rows] + [one.tensor for one in self.replaced]
        return any(one is target for one in state for target in targets)

    # -- fields that are not set -------------------------------------------------------------------

    def _hide(self, tensor: Tensor, field: str) -> None:
        """A field is not set until the tape has run; what another one has put off is made first."""
        key = id(tensor), field
        if key in self.hidden:
            return
        entry = [tensor, field, None]
        # Who looks for the field finds it by a tape that waits.
        if self not in recording.waiting:
            recording.waiting.append(self)
        try:
            object.__getattribute__(tensor, field)
            # No signal handler and no other thread runs from here on where the field is set.
            if key in self.hidden:
                return
            if field == "_grad":
                entry[2] = tensor._grad
                del tensor._grad
            else:
                entry[2] = tensor._value
                del tensor._value
            self.hidden[key] = entry
        except AttributeError:
            raise Elsewhere(tensor) from None

    def _show(self) -> None:
        """Set the fields again. Those that have been set by others since stay as they are."""
        for tensor, field, value in list(self.hidden.values()):
            try:
                object.__getattribute__(tensor, field)
            except AttributeError:
                if field == "_grad":
                    tensor._grad = value
                else:
                    tensor._value = value

    def _hide_again(self, turn: object) -> None:
        """What was not run after all is to run before somebody sees what it changes."""
        if self.turn is turn:
            for tensor, field, _ in list(self.hidden.values()):
                self.hidden.pop((id(tensor), field), None)
                with contextlib.suppress(Elsewhere):
                    self._hide(tensor, field)

    def touches(self, tensors: Iterable[Any]) -> bool:
        """Whether what was recorded, or is being run, reads or changes one of these tensors."""
        wanted = {id(one) for one in tensors}
        if not wanted:
            return False
        found: list[Any] = []
        for step, externals in ((self.position, self.externals), self.running or (self.root, [])):
            found += [one for one in externals if isinstance(one, Tensor)]
            for outcome in step.outcomes:
                if outcome is not None:
                    found += outcome.state
        found += [memory_of(one) for one in found]
        return any(id(one) in wanted for one in found) or any(
            (one, field) in self.hidden for one in wanted for field in ("_value", "_grad")
        )

    # -- running -----------------------------------------------------------------------------------

    def flush(self, last: Step | None = None, turn: object = None) -> bool:
        """Run what was recorded, with one more step if that is given and nothing has come between;
        whether it could be done.

        An exception from a signal handler leaves it done, or as it was; between that, where calls
        are run one by one and have begun to change state, the tensors that were not made say so.
        """
        if last is None and look(self):
            return True
        # `told` where some thread traces. A trace reads state that is still to be written.
        if activity.told and tracing.active() is not None:
            return tracing.run_outside(lambda: self.flush(last, turn))
        waiting = recording.waiting
        if len(waiting) > (self in waiting) and not recording.is_holding():
            step = self.position if last is None else last
            changed = (*step.written, *step.parameters) if step.stepped else step.written
            recording.settle_others(self, changed)
        if threading.get_ident() == self.ident:
            with self.lock:
                return self._holding(last, turn)
        while True:
            with self.lock:
                before = self.claimed  # a run may lead here again
                try:
                    self.claimed = True
                    if not self.busy or self.has_ended():
                        return self._holding(last, turn)
                finally:
                    self.claimed = before
            time.sleep(_PAUSE)

    def _holding(self, last: Step | None, turn: object) -> bool:
        """The same with the lock of the tape."""
        recording.hold(self.lock)
        current = recording.current
        before, current.tape = current.tape, None
        try:
            return self._flush(last, turn)
        finally:
            current.tape = before
            if current.held and current.held[-1] is self.lock:
                del current.held[-1]

    def _flush(self, last: Step | None, known: object) -> bool:
        if last is None:
            self._tidy()
        elif last.parent is not self.position or known is not self.turn:
            return False
        turn = self.turn = object()
        self.tidied = None
        step = self.position if last is None else last
        self._show()
        if step is self.root:
            self._leave()
            return True
        outputs = self.outputs
        held = self.alive(step)
        if self.turn is not turn:
            return last is None
        try:
            piece = self._prepared(step, held)
        except BaseException:
            self._hide_again(turn)
            raise
        fresh: tuple[Any, ...] = (self.root, [], {}, [], {}, {}, [])
        externals, places, rows = self.externals, self.places, self.rows
        kept = self.position, externals, self.index, self.outputs, places, self.hidden, rows
        if self not in recording.waiting:
            recording.waiting.append(self)
        if self.turn is not turn:  # it was run by a signal handler
            return last is None
        taken, self.taken = self.taken, []
        replaced, self.replaced = self.replaced, []
        progress = Progress(replaced)
        try:
            self.running = step, externals
            self._stand(fresh)
            # The traceback of an error holds what is here, and who holds a result is counted.
            del fresh
            if type(piece) is not Piece or not self._run(
                piece, step, externals, outputs, held, progress
            ):
                call_by_call(step, externals, only_held(held, outputs), places, progress)
                if type(piece) is Trial:
                    piece.add(step.work)
            write_rows(rows, outputs)
            self.stopped = False
        except BaseException as error:
            if not progress.begun and progress.results is None and self._may_wait(error, turn):
                self.taken, self.replaced = taken, replaced
                self._stand(kept)
                self._hide_again(turn)
            else:
                if type(piece) is Piece and progress.results is not None:
                    finish(piece, step, externals, outputs, held, progress)
                else:
                    fail(only_held(held, outputs), error)
                    give_back(taken, replaced)
                write_rows(rows, outputs)
            raise
        finally:
            self.running = None
            if self.position is self.root:
                self._leave()
        return True

    def _stand(self, where: tuple[Any, ...]) -> None:
        """What waits is this."""
        (
            self.position,
            self.externals,
            self.index,
            self.outputs,
            self.places,
            self.hidden,
            self.rows,
        ) = where
        self.memories = self.externals, 0, set()  # and nothing is kept of those before

    def _may_wait(self, error: BaseException, turn: object) -> bool:
        """Whether calls that changed nothing may be run again: it was not their fault."""
        before, self.stopped = self.stopped, True
        wrong = isinstance(error, MynnError) or (before and isinstance(error, Exception))
        return not wrong and self.turn is turn

    def _leave(self) -> None:
        """Nothing waits, and nothing is hidden."""
        if self.hidden:
            self.hidden = {}
        if self in recording.waiting:
            recording.waiting.remove(self)
        if self.size > MOST:
            self.size, self.root.next, self.root.other = 0, None, None
            self.root.children.clear()  # modules may hold steps that hold the root
            self.root = self.position = Step(None, None, None)
        if not self.externals and not self.outputs:
            self.tidied = self.root

    def alive(self, step: Step) -> list[bool]:
        """Whether somebody else holds a result, or looks at it by one that he holds, or it goes
        into rows.
        """
        held = [getrefcount(one) > ALONE for one in self.outputs]
        for _, _, slot in self.rows:
            held[slot] = True
        for slot, base in step.within:
            if slot < len(held) and held[slot]:  # otherwise a signal handler had all run
                held[base] = True
        return held

    def seen_by(self, slot: int) -> Tensor | None:
        """The tensor whose memory a result looks at; None where that was run meanwhile."""
        views, outputs, externals = self.position.views, self.outputs, self.externals
        for number, leaf, *_ in views:
            if number == slot:
                try:
                    found = (outputs if isinstance(leaf, Slot) else externals)[leaf.number]
                except IndexError:
                    return None  # another thread has run it just now
                return found if isinstance(found, Tensor) else None
        return None

    def _prepared(self, step: Step, held: list[bool]) -> Piece | Trial | None:
        """The program, ready to run; otherwise the calls are run one by one."""
        if step.asking and not step.stepped and any(held[slot] for slot in step.asking):
            return None  # somebody has what asks for a gradient, and may ask for it later
        key = tuple(held)
        if self.stopped:  # some were made by an earlier run
            pairs = zip(held, self.outputs, strict=True)
            key = tuple([known and one.pending is not None for known, one in pairs])
        if step.views:
            key = step.keys.get(key) or self._without_views(step, key)
        piece = step.pieces.get(key)
        if piece is None or (type(piece) is Piece and not piece.holds()):
            general = self.lengths.general
            found = self.lengths.at_once(self._path(step, key)) if general else None
            if found is None and not step.pieces:
                self.credit.stray(len(step.calls))
            piece, step.known = found or Trial(), None
            step.make_room()
            step.pieces[key] = piece
        elif type(piece) is Trial and self._is_over(piece, step, key):
            try:
                piece = step.pieces[key] = self.lengths.piece(self._path(step, key))
            except MynnError:
                step.pieces[key] = Trial()  # it is tried again as late as now
                return None  # run one by one the calls say what is wrong
            if step.stepped:
                step.updates.programs += piece.room is None  # otherwise nothing was compiled
            elif not step.made and piece.room is None:
                first = step.first()
                self.made[first] = self.made.get(first, 0) + 1
            step.made = True
            if len(step.pieces) >= MANY:
                self.reasons.many_programs(len(step.pieces), str(step.calls[-1]))
        if type(piece) is not Piece:
            return piece
        if not self._has_gradients(step):  # from another thread: they are added up
            return None
        piece.prepare()
        return piece

    def _has_gradients(self, step: Step) -> bool:
        """Whether what gets gradients has those that it had as that was recorded."""
        for leaf in step.trained:
            if type(leaf) is Beyond:
                continue
            place = step.sums.get(leaf)
            before = None if place is None else self.externals[place.number]
            if target_of(leaf, self.externals)._grad is not before:
                return False
        return True

    def _is_over(self, trial: Trial, step: Step, held: tuple[bool, ...]) -> bool:
        """Whether calls have been run one by one often enough."""
        pairs = zip(held, self.outputs, strict=True)
        gradients = bool(step.trained or step.replacing) or any(
            known and one._requires_grad for known, one in pairs
        )
        # Run one by one they ask for the nodes of what they read, and of all that led to it.
        further = gradients and any(
            isinstance(one, Tensor) and one.pending is not None and one.pending.run is not None
            for one in self.externals
        )
        updates = step.updates if step.stepped else None
        first = step.first()
        if (
            updates is None
            and not step.made
            and trial.times < times_before(self.made.get(first, 0))
        ):
            return False
        return trial.over(len(step.calls), gradients, updates, further)

    def _without_views(self, step: Step, held: tuple[bool, ...]) -> tuple[bool, ...]:
        """Which results a program makes. Views look at them later, so that it is the same whether
        these are held, but for whether a gradient flows through anything that is.
        """
        if len(step.keys) >= SETS:
            step.keys.clear()
        found = list(held)
        grown = any(
            known and one._requires_grad and i not in step.replacing
            for i, (known, one) in enumerate(zip(held, self.outputs, strict=True))
        )
        for view in step.views:
            found[view[0]] = grown
        key = step.keys[held] = tuple(found)
        return key

    def _path(self, step: Step, held: tuple[bool, ...]) -> Path:
        """What is to be a program."""
        found = [(i, one) for i, one in enumerate(self.outputs) if held[i]]
        wanted = [i for i, one in found if one.pending.view is None]
        grown = any(one._requires_grad for i, one in found if i not in step.replacing)
        asking = [slot for slot in step.asking if held[slot]]
        return Path(step, self.externals, wanted, [*step.trained, *map(Slot, asking)], grown)

    def _run(
        self,
        piece: Piece,
        step: Step,
        externals: list[Any],
        outputs: list[Tensor],
        held: list[bool],
        progress: Progress,
    ) -> bool:
        """Run the program; False where it found something wrong."""
        if step.written and recording.readers:
            recording.before_change(step.written)
        if step.assigned:
            recording.before_assignment(one for one in step.written if isinstance(one, Parameter))
        if piece.grown and step.written:
            progress.saved = [(one, array_of(one).copy()) for one in step.written]
        try:
            if step.stepped or not step.written:
                piece.run(externals, progress)
            else:
                run_noted(piece, step, externals, progress)
        except MynnError:
            if progress.results is None:
                return False  # state is as before: what is wrong shows at the call itself
            raise
        finish(piece, step, externals, outputs, held, progress)
        learn(step, held, piece)
        count_run(self, step, piece)
        return True
