"""What a tape gives to the tensors that wait for it, once it has run."""

from __future__ import annotations

import weakref
from collections.abc import Container, Sequence
from types import CodeType
from typing import Any, NamedTuple, TypeAlias

from mynn.base import recording, sharing
from mynn.core.types import Array
from mynn.errors import MynnError, UsageError
from mynn.tape.calls.call import Beyond, External, Slot
from mynn.tape.calls.several import Together
from mynn.tape.calls.step import Step, Target
from mynn.tape.gradients.kept import remembered
from mynn.tape.gradients.run import Run
from mynn.tape.pieces.output import Later, Output, Promise
from mynn.tape.pieces.piece import Piece
from mynn.tensor import Parameter, Tensor
from mynn.tensor.gradients import history
from mynn.tensor.gradients.backward import backward as backward_of
from mynn.tensor.gradients.history import array_of
from mynn.tensor.methods import rows as rows_of
from mynn.tensor.methods.rows import Places

# A tensor from before, the index of some of its rows, and the result that they get.
Rows: TypeAlias = tuple[Tensor, Places, int]
# Of results that look at the memory of others: slot, place of that, the steps from it, and whether
# gradients flow.
Views: TypeAlias = Sequence[tuple[int, Slot | External, Any, bool]]


class Replacement(NamedTuple):
    """A tensor from before that a result has taken the place of.

    - `before`: what stands in for it where it was read before that, with the memory that it had;
      `read`: the numbers of these externals, and of those that look at that memory; `needed`:
      whether a gradient may need that, or goes to it.
    """

    tensor: Tensor
    before: Tensor
    read: tuple[int, ...]
    needed: bool


class Progress:
    """How far a tape has come as it is run.

    - `results`: what the program gave; None before it has run as a whole.
    - `begun`: whether a change of state may have begun, so that the calls cannot be run again.
    - `saved`: state that it changes, as it was before.
    - `given`: the number of the result from which on nobody has got it as a gradient yet.
    - `run`: what the results remember of where they came from.
    - `replaced`: the tensors from before whose values are results.
    """

    __slots__ = ("begun", "given", "replaced", "results", "run", "saved")

    def __init__(self, replaced: Sequence[Replacement]) -> None:
        self.replaced = replaced
        self.results: list[Any] | None = None
        self.begun = False
        self.given = 0
        self.run: Run | None = None
        self.saved: list[tuple[Tensor, Array]] = []


def waits(tensor: Tensor | None) -> bool:
    """Whether somebody holds a tensor that has not been made."""
    return tensor is not None and tensor.pending is not None and tensor.pending.tape is not None


def finish(
    piece: Piece,
    step: Step,
    externals: list[Any],
    outputs: list[Tensor],
    held: list[bool],
    progress: Progress,
) -> None:
    """Give the tensors their values, and the parameters their gradients; also a second time."""
    results, run = progress.results, progress.run
    assert results is not None
    if run is None and piece.grown:  # what results came from is remembered for `backward`
        marks = () if step.stepped else step.marks(piece.access)
        kept = remembered(step, externals, held)
        run = progress.run = Run(step, kept, progress.saved, marks)
        if progress.replaced:
            run.stand_ins = tuple((i, one.tensor) for one in progress.replaced for i in one.read)
    give_values(piece.wanted, outputs, results, run, step.replacing)
    if step.asking and step.stepped and not progress.given:
        _finish_asking(step, outputs, held, run)
    if step.views:
        give_views([view for view in step.views if held[view[0]]], outputs, externals, run)
    if piece.reached:
        with history.gradients:
            for number, leaf in enumerate(piece.reached, len(piece.wanted)):
                if number < progress.given:
                    continue
                one = outputs[leaf.number] if type(leaf) is Slot else target_of(leaf, externals)
                place = step.sums.get(leaf)
                if place is not None:
                    _add_up(externals[place.number], results[number])
                    progress.given = number + 1
                    continue
                gradient = Tensor.from_value(results[number])
                if type(leaf) is Beyond:
                    progress.given = number + 1
                    if history.behind(one):
                        backward_of(one, gradient)
                    continue
                if one._grad is None:  # no signal handler runs from here to the next line's end
                    one._grad = gradient
                    progress.given = number + 1
                else:  # another thread has added one in the meantime
                    progress.given = number + 1
                    history.accumulate(one, gradient)


def give_values(
    slots: Sequence[int],
    outputs: Sequence[Tensor],
    values: Sequence[Array],
    run: Run | None,
    replacing: Container[int] = (),
) -> None:
    """The tensors that wait for what a program has made get it; also a second time. Those that
    take the place of tensors from before do not remember where they came from.
    """
    number = 0
    for slot in slots:
        tensor = outputs[slot]
        pending = tensor.pending
        if type(pending) is Promise:
            tensor._value = values[number]
            if run is not None and tensor._requires_grad and slot not in replacing:
                run.results.append(weakref.ref(tensor))
                tensor.pending = Output(slot, pending.type, run)
            else:
                tensor.node = tensor.pending = None
        number += 1  # noqa: SIM113 - `enumerate` takes longer


def give_views(
    views: Views, outputs: Sequence[Tensor], externals: Sequence[Any], run: Run | None
) -> None:
    """Those that look at the memory of others, and wait, look when they are looked at."""
    for slot, leaf, steps, attached in views:
        tensor = outputs[slot]
        pending = tensor.pending
        if type(pending) is Promise:
            base: Any = (outputs if type(leaf) is Slot else externals)[leaf.number]
            own = run if tensor._requires_grad else None
            if own is not None:
                own.results.append(weakref.ref(tensor))
            tensor.pending = Later(pending, own, base, steps, attached)


def target_of(leaf: Target, externals: list[Any]) -> Tensor:
    """What gets a gradient, or hands it on."""
    if isinstance(leaf, Parameter):
        return leaf
    target: Tensor = externals[leaf.number]
    return target


def _finish_asking(step: Step, outputs: list[Tensor], held: list[bool], run: Run | None) -> None:
    """Those results that ask for gradients themselves, and that somebody has, are leaves now.

    The run would make others in their place: who goes back through it once more is told so.
    """
    for slot in step.asking:
        tensor = outputs[slot]
        if held[slot]:
            tensor.node = tensor.pending = tensor._grad = None
            if run is not None:
                run.fine = run.lost = True


def _add_up(gradient: Tensor, total: Array) -> None:
    """Give a gradient that there was the sum of it and what came to it."""
    array_of(gradient)[...] = total
    history.changed(gradient)


def fail(tensors: list[Tensor | None], error: BaseException) -> None:
    """The tensors say why they could not be made."""
    if not isinstance(error, MynnError):
        what = f"the calls that make this tensor were interrupted: {type(error).__name__} {error}"
        error, cause = UsageError(what.rstrip()), error
        error.__cause__ = cause
    for one in tensors:
        if one is not None and waits(one):
            output = one.pending
            one.pending = Output(output.slot, output.type, None, error)


def give_back(taken: list[Any], replaced: Sequence[Replacement]) -> None:
    """Parameters have the gradients again that they had before these became results, where no
    gradients could be made; and tensors from before their memory.
    """
    for tensor, before, *_ in replaced:
        if tensor.pending is not None and tensor.pending.error is not None:
            tensor._value, tensor._requires_grad = array_of(before).copy(), before._requires_grad
            tensor.pending = tensor._view = tensor.node = None
    for parameters, earlier in taken:
        for one, before in zip(parameters, earlier, strict=True):
            failed = one._grad
            if failed is None or failed.pending is None or failed.pending.error is None:
                continue
            if before is None:
                one._grad = None
            elif before[0] is failed:
                failed._value, failed.pending = before[1], None
                failed._view = failed.node = None


def call_by_call(
    step: Step,
    externals: list[Any],
    tensors: list[Tensor | None],
    places: dict[int, tuple[CodeType, int]],
    progress: Progress,
) -> None:
    """Run the calls one by one, as they were called. What stands in for tensors from before that
    are results collects their gradients; those that need what there was are refused afterwards.
    """
    for one in progress.replaced:
        one.before.node = history.new_leaf(one.tensor, one.before, one.before)
    slots: list[Any] = []
    together = Together()
    current = recording.current
    try:
        for call, outcome in zip(step.calls, step.outcomes, strict=True):
            tensor = None if call.slot is None else tensors[call.slot]
            if tensor is not None and not waits(tensor):
                slots.append(tensor)  # an earlier run was interrupted after it
                continue
            if outcome is None or outcome.writes:
                progress.begun = True
            current.place = None if call.slot is None else places.get(call.slot)
            result = together.run(call, slots, externals)
            if call.slot is None:
                continue
            if tensor is not None:
                adopt(tensor, result)
                if call.slot in step.replacing:
                    tensor.node, tensor._requires_grad = None, True
            slots.append(result if tensor is None else tensor)
    finally:
        current.place = None
    for one in progress.replaced:
        if one.before.node is not None:
            history.set_recorded(one.before.node, None)


def write_rows(rows: Sequence[Rows], outputs: list[Tensor]) -> None:
    """Put results that have been made into the rows of tensors from before; also a second time."""
    for target, places, slot in rows:
        result = outputs[slot]
        if result.pending is None or result.pending.error is None:
            rows_of.write_rows(target, places, array_of(result))


def run_noted(piece: Piece, step: Step, externals: list[Any], progress: Progress) -> None:
    """Run a program. Statistics and keys that it changes are noted tensor by tensor, so that what
    was recorded of other state stays valid.
    """

    def run() -> None:
        try:
            piece.run(externals, progress)
            for one in step.written:
                history.changed(one)
        except BaseException:
            if progress.results is not None:
                for one in step.written:
                    history.changed(one)
            raise

    state = [one for outcome in step.outcomes if outcome is not None for one in outcome.state]
    sharing.run_whole(run, (*state, *step.written), write=True, noted=True)


def adopt(tensor: Tensor, result: Tensor) -> None:
    """Make a tensor what a call gave."""
    tensor._value = result._value
    tensor._view = result._view
    tensor._version += result._version  # views of a gradient that was moved are to look again
    tensor._requires_grad = result._requires_grad
    tensor.node = result.node
    try:
        object.__getattribute__(tensor, "_grad")
    except AttributeError:  # `backward`, which comes later, is to set it
        tensor._grad = None
    tensor.pending = None


def only_held(held: list[bool], outputs: list[Tensor]) -> list[Tensor | None]:
    """The results that somebody holds."""
    return [one if known else None for known, one in zip(held, outputs, strict=True)]
