"""`Asked`: gradients that are asked for as results (`autograd.grad`), as calls of a tape.

The call itself gives all gradients together, which nobody holds, and each of them is a call that
picks it. What they are depends on all that was called before, so that their types are found by
tracing the calls up to there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mynn.base import hooks, recording
from mynn.base.dataclass import dataclass
from mynn.core.graph import topological
from mynn.core.types import Type, default_float
from mynn.errors import MynnError
from mynn.tape.call import Beyond, Call, External, Form, Slot, Unknown
from mynn.tape.following import Following, is_exposed
from mynn.tape.outcome import Outcome
from mynn.tape.output import Elsewhere, Promise
from mynn.tape.piece import placeholders, replay
from mynn.tape.step import AT_ONCE, Step
from mynn.tape.training import WAYS
from mynn.tape.work import work_of
from mynn.tensor import Parameter, Tensor, graph_node, history
from mynn.tensor.grad_fn import name_of
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
        """What it is made of (`mynn.tape.alike`)."""
        return self.function, tuple(self.options.items()), self.parameters

    def __call__(self, outputs: Any, inputs: Any, cotangents: Any) -> list[Tensor | None]:
        return list(self.function(outputs, inputs, cotangents, **self.options))


class Part:
    """One of the gradients."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.__name__ = "part"

    def parts(self) -> tuple[Any, ...]:
        """What it is made of (`mynn.tape.alike`)."""
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
                way = self._way(function, outputs, inputs, cotangents, options)
                return None if way is AT_ONCE else self._along(way, turn)
        except (Elsewhere, Unknown, LookupError, AssertionError):
            return None

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
    ) -> Any:
        """Where the call leads to from here."""
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
        with tracing.tracing() as trace:
            trace.named, trace.overwritten = False, {}
            nodes, given = placeholders(self.externals)
            plain = [one for one in self.externals if not isinstance(one, Parameter)]
            for external, tensor in zip(self.externals, given, strict=True):
                if tensor is not external and tensor.requires_grad and external.is_leaf:
                    trace.leaves[graph_node(tensor)] = tensor
            slots = replay(position.calls, given)
            before = [graph_node(one) for one in slots if isinstance(one, Tensor)]
            results = call.run(slots, given)
            if trace.effects.looks or trace.effects.refused:
                return AT_ONCE
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
        flows = [
            one is not None and t.requires_grad and history.leads_to(one, asked.__contains__)
            for one, t in zip(ends, results, strict=True)
        ]
        kinds = [None if one is None else one.type for one in ends]
        whole = self._step(
            position, call, Type((), default_float()), any(flows), work_of(made), None
        )
        whole.externals = len(self.externals)
        parts: list[Step | None] = []
        last = whole
        told = zip(kinds, flows, names, strict=True)
        for number, (kind, flow, name) in enumerate(told):
            if kind is None:
                parts.append(None)
                continue
            form = Form((Slot(whole.slots - 1),), {})
            form.leaves = (Slot(whole.slots - 1),)
            last = self._step(last, Call(Part(number), form, last.slots), kind, flow, 0.0, name)
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
