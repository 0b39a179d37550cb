"""`Asked`: gradients that are asked for as results (`autograd.grad`), as calls of a tape.

The call itself gives all gradients together, which nobody holds, and each of them is a call that
picks it. What they are depends on all that was called before, so that their types are found by
tracing the calls up to there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mynn.base import hooks, recording
from mynn.base.dataclass import dataclass
from mynn.core.graph import topological
from mynn.core.types import Type, default_float
from mynn.errors import MynnError
from mynn.tape.calls.alike import found_alike, told_alike
from mynn.tape.calls.call import Beyond, Call, External, Form, Slot, Unknown
from mynn.tape.calls.following import Following, is_exposed
from mynn.tape.calls.outcome import Outcome
from mynn.tape.calls.step import AT_ONCE, Step
from mynn.tape.gradients.training import WAYS
from mynn.tape.pieces.output import Elsewhere, Promise
from mynn.tape.pieces.piece import placeholders, replay
from mynn.tape.pieces.work import work_of
from mynn.tensor import Parameter, Tensor, graph_node
from mynn.tensor.gradients import history
from mynn.tensor.gradients.grad_fn import name_of
from mynn.trace import tracing
from mynn.trace.guards import Guards


class Gradients:
    """All gradients of some outputs by some inputs: a list, None where there is none.

    `parameters` are those of the inputs, which are part of the key by what they are.
    """

    differentiates = True

    def __init__(self, function: Callable[..., Any], options: dict[str, bool | None], inputs: Any):
        self.function = function
        self.options = options
        self.parameters = [one for one in inputs if isinstance(one, Parameter)]
        self.__name__ = "grad"

    def parts(self) -> tuple[Any, ...]:
        """What it is made of (`mynn.tape.calls.alike`)."""
        return self.function, tuple(self.options.items()), self.parameters

    def __call__(self, outputs: Any, inputs: Any, cotangents: Any) -> list[Tensor | None]:
        return list(self.function(outputs, inputs, cotangents, **self.options))


class Part:
    """One of the gradients."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.__name__ = "part"

    def parts(self) -> tuple[Any, ...]:
        """What it is made of (`mynn.tape.calls.alike`)."""
        return (self.number,)

    def __call__(self, gradients: Sequence[Tensor]) -> Tensor:
        return gradients[self.number]


@dataclass(frozen=True)
class Way:
    """The steps that one such call leads along: that of all gradients, and that of each; None for
    an input that has none.
    """

    whole: Step
    parts: tuple[Step | None, ...]


class Asked(Following):
    """A tape that gradients are asked of as results."""

    def gradients(
        self,
        function: Callable[..., Any],
        outputs: Sequence[Tensor],
        inputs: Sequence[Tensor],
        cotangents: Sequence[Tensor] | None,
        options: dict[str, bool | None],
    ) -> tuple[Tensor | None, ...] | None:
        """Record `function(outputs, inputs, cotangents, **options)`, which gives gradients of what
        this tape has recorded; None where it has to be called at once.
        """
        if hooks.exist() or any(is_exposed(one) for one in (*inputs, *(cotangents or ()))):
            return None
        try:
            with self.lock:
                turn = self.turn = object()
                self.tidied = None
                self._tidy()
                if not all(self._waits_here(one) for one in outputs):
                    return None
                if self.has_changed() or not all(self._is_start(one) for one in inputs):
                    return None
                if self.turn is not turn:  # somebody has looked
                    return None
                way = self._way(function, outputs, inputs, cotangents, options, turn)
                return None if way is AT_ONCE else self._along(way, turn)
        except (Elsewhere, Unknown, LookupError, AssertionError):
            return None
        except AttributeError:
            if self.turn is turn:
                raise
            return None  # somebody has looked

    def _waits_here(self, tensor: Tensor) -> bool:
        """Whether it is a result of this tape that gradients flow through."""
        pending = tensor.pending
        return (
            pending is not None
            and pending.tape is self
            and self.outputs[pending.slot] is tensor
            and tensor.requires_grad
        )

    def _is_start(self, tensor: Tensor) -> bool:
        """Whether gradients can be asked for by it: a result, or a leaf."""
        return self._waits_here(tensor) or (tensor.requires_grad and tensor.is_leaf)

    def _way(
        self,
        function: Callable[..., Any],
        outputs: Sequence[Tensor],
        inputs: Sequence[Tensor],
        cotangents: Sequence[Tensor] | None,
        options: dict[str, bool | None],
        turn: object,
    ) -> Any:
        """Where the call leads to from here; known for later calls where nothing came between."""
        key: list[Any] = ["grad", *options.values()]
        given = list(outputs), list(inputs), None if cotangents is None else list(cotangents)
        for part in given:
            self._add(key, part)
        position = self.position
        ways, found = position.children, tuple(key)
        way: Any = ways.get(found)
        if way is None and not self._are_all_here(outputs, inputs):
            way = ways[found] = AT_ONCE
        if way is None:
            form = Form(given, {}, self._place_of_any)
            call = Call(Gradients(function, options, inputs), form, position.slots)
            try:
                way = tracing.tidy(lambda: self._made(position, call))
            except (MynnError, TypeError, ValueError, AttributeError):
                way = AT_ONCE  # at once it says what is wrong
            if self.turn is not turn:
                return AT_ONCE
            if len(ways) >= WAYS:
                ways.clear()
            ways[found] = way
        return way

    def _are_all_here(self, outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> bool:
        """Whether all ways from the inputs to the outputs have been recorded here."""
        if all(self._waits_here(one) for one in inputs):
            return True
        for one in outputs:
            leaves = self.position.leaves_of(one.pending.slot, self.externals)
            if leaves is None or any(type(leaf) is Beyond for leaf in leaves):
                return False
        return True

    def _place_of_any(self, value: Tensor) -> Slot | External:
        pending = value.pending
        if pending is not None and pending.tape is self:
            return Slot(pending.slot)
        return External(self.index[id(value)])

    def _made(self, position: Step, call: Call) -> Any:
        """The steps after all that was called, and this call."""
        externals = list(self.externals)
        told = told_alike((*position.calls, call), externals, (), self._put_off())
        found = found_alike("gradients", told, lambda: _gradients_of(position, call, externals))
        if found is None:
            return AT_ONCE
        work, gradients = found
        flows = any(one is not None and one.flows for one in gradients)
        whole = self._step(position, call, Type((), default_float()), flows, work, None)
        whole.externals = len(self.externals)
        parts: list[Step | None] = []
        last = whole
        for number, one in enumerate(gradients):
            if one is None:
                parts.append(None)
                continue
            form = Form((Slot(whole.slots - 1),), {})
            form.leaves = (Slot(whole.slots - 1),)
            part = Call(Part(number), form, last.slots)
            last = self._step(last, part, one.type, one.flows, 0.0, one.name)
            parts.append(last)
        return Way(whole, tuple(parts))

    def _step(
        self, parent: Step, call: Call, kind: Type, flows: bool, work: float, name: str | None
    ) -> Step:
        outcome = Outcome(
            kind,
            flows,
            None,
            None,
            (),
            (),
            (),
            True,
            Guards(),
            tracing.activity.edits(),
            recording.toggles[0],
            default_float(),
            True,
            name,
            work,
        )
        step = Step(parent, call, outcome)
        step.promise = Promise(self, parent.slots, kind)
        step.hold(())
        self.size += step.size
        return step

    def _along(self, way: Way, turn: object) -> tuple[Tensor | None, ...] | None:
        """Take the steps; the gradients."""
        found: list[Tensor | None] = []
        for step in (way.whole, *way.parts):
            if step is None:
                found.append(None)
                continue
            tensor = self._promised(step)
            if self.turn is not turn:
                return None
            self.position = step
            found.append(tensor)
        self.tidied = self.position
        return tuple(found[1:])


class _Gradient(NamedTuple):
    """What is known of a gradient: its type, whether gradients flow through it, what made it."""

    type: Type
    flows: bool
    name: str | None


def _gradients_of(
    position: Step, call: Call, externals: Sequence[Any]
) -> tuple[float, list[_Gradient | None]] | None:
    """How long a call for gradients takes, and what these are, None where there is none; None of a
    call that has to be made at once.
    """
    with tracing.tracing() as trace:
        trace.named, trace.overwritten = False, {}
        nodes, given = placeholders(externals)
        plain = [one for one in externals if not isinstance(one, Parameter)]
        for external, tensor in zip(externals, given, strict=True):
            if tensor is not external and tensor.requires_grad and external.is_leaf:
                trace.leaves[graph_node(tensor)] = tensor
        slots = replay(position.calls, given)
        before = [graph_node(one) for one in slots if isinstance(one, Tensor)]
        results = call.run(slots, given)
        if trace.effects.looks or trace.effects.refused:
            return None
        ends = [None if one is None else graph_node(one) for one in results]
        history.check_overwritten(trace, [one for one in ends if one])
        names = [None if one is None else name_of(one) for one in results]
        asked = {node for node in trace.reads.values() if trace.leaves[node].requires_grad}
        asked.update(
            node
            for node, tensor in zip(nodes, plain, strict=True)
            if isinstance(tensor, Tensor) and tensor.requires_grad
        )
    known = set(topological(before))
    made = [one for one in topological([one for one in ends if one]) if one not in known]
    found: list[_Gradient | None] = []
    for end, tensor, name in zip(ends, results, names, strict=True):
        if end is None:
            found.append(None)
            continue
        flows = tensor.requires_grad and history.leads_to(end, asked.__contains__)
        found.append(_Gradient(end.type, flows, name))
    return work_of(made), found
