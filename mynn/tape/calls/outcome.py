"""What a call will give, found by tracing it once: the type of the result, and what it changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mynn.base import recording
from mynn.base.dataclass import dataclass
from mynn.core.graph import Node, input_node, topological
from mynn.core.types import Type, default_float
from mynn.errors import MynnError
from mynn.ops import elementwise, gather
from mynn.tape.calls.call import Form, Leaf
from mynn.tape.calls.several import Several, results_of, several
from mynn.tape.pieces.work import work_of
from mynn.tensor import Tensor, graph_node
from mynn.tensor.gradients.grad_fn import name_of
from mynn.tensor.methods.inplace import asks
from mynn.tensor.value import Step
from mynn.trace import tracing
from mynn.trace.guards import Guards
from mynn.trace.trace import Trace


class _AtOnce(MynnError):
    """A call does what no tape can put off."""


@dataclass(slots=True)
class Outcome:
    """What a call does, for arguments of some types.

    - `type`, `requires_grad`: of its result.
    - `same`: the number of the argument that is the result itself.
    - `moved`: that of the argument that gets the result as its value, and is what is returned.
    - `view`: where the result looks at the memory of an argument, the number of that, the steps
      from it, and whether gradients flow.
    - `writes`: state that it changes; `leaves`: state that gets a gradient through it; `state`: all
      that it reads.
    - `overwrites`: whether it changes a value in place that it has made, and gradients flow.
    - `fails`: whether an error may show when it is run, so that its line has to be known.
    - `guards`: what was read of Python beside the arguments.
    """

    type: Type
    requires_grad: bool
    same: int | None
    view: tuple[int, tuple[Step, ...], bool] | None
    writes: tuple[Tensor, ...]
    leaves: tuple[Tensor, ...]
    state: tuple[Tensor, ...]
    fails: bool
    guards: Guards
    edits: int
    toggles: int
    # What floats of Python become.
    floats: Any
    # Whether all that was read notes a change of itself.
    steady: bool
    # Of what made the result, for `grad_fn`.
    name: str | None
    # How long it takes (`mynn.tape.pieces.work`).
    work: float
    moved: int | None = None
    overwrites: bool = False

    def modes(self) -> dict[Any, bool]:
        """The modes of modules that the call has read."""
        read = self.guards.properties.items()
        return {module: mode for (module, name), mode in read if name == "_mode"}

    def holds(self) -> bool:
        """Whether the call will do the same now."""
        # `watch` is more than any number of edits while somebody traces.
        if tracing.activity.watch != self.edits:
            edits = tracing.activity.edits()
            if edits != self.edits:
                if not self.guards.holds():
                    return False
                self.edits = edits
        if self.toggles != recording.toggles[0]:
            if self.floats != default_float():
                return False
            trained = {id(tensor) for tensor in self.leaves}
            if any(t.requires_grad != (id(t) in trained) for t in self.state if t.is_leaf):
                return False
            self.toggles = recording.toggles[0]
        return self.steady or self.guards.unchanged()


def outcome_of(
    function: Callable[..., Any], form: Form, leaves: Sequence[Leaf]
) -> Outcome | Several | None:
    """The outcome, that of several results, or None where the call has to be run at once."""
    try:
        return tracing.tidy(lambda: _traced(function, form, leaves))
    except (MynnError, TypeError, ValueError, AttributeError, IndexError, KeyError, OverflowError):
        return None  # run at once it says what is wrong


def _traced(
    function: Callable[..., Any], form: Form, leaves: Sequence[Leaf]
) -> Outcome | Several | None:
    with tracing.tracing() as trace:
        trace.named, trace.overwritten = False, {}
        nodes, tensors = _inputs(trace, leaves)
        given = dict(zip(form.leaves, tensors, strict=True))
        args, kwargs = form.fill(given.__getitem__)
        whole = result = function(*args, **kwargs)
        if trace.effects.looks or trace.effects.refused:
            return None
        if type(result) is not Tensor:
            results = results_of(function, whole)
            if not results or trace.writes() or trace.checks:
                return None
            result = results[0]
        same = next((i for i, tensor in enumerate(tensors) if tensor is result), None)
        moved = _moved(nodes, tensors, leaves, same)
        if moved is not None:
            same = None
        if same is None and result._value is not None:
            return None  # state itself
        view = _view_of(function, result, tensors)
        if (same is not None and leaves[same].array) or (view and leaves[view[0]].array):
            return None  # the array became a tensor on the way
        made = topological([graph_node(result)])
        if any(node.primitive is gather.take_rows for node in made):
            return None  # a gradient that remembers rows, which no program gives back
        state = tuple(trace.reads)
        fails = bool(trace.checks or trace.writes())
        name = name_of(result)
    outcome = Outcome(
        result.spec,
        result.requires_grad,
        same,
        view,
        tuple(trace.writes()),
        tuple(tensor for tensor in state if tensor.requires_grad and tensor.is_leaf),
        state,
        fails,
        trace.guards,
        tracing.activity.edits(),
        recording.toggles[0],
        default_float(),
        trace.guards.steady,
        name,
        work_of(made),
        moved,
        bool(trace.overwritten) and result.requires_grad and function is not asks,
    )
    return outcome if result is whole else several(function, whole, outcome)


def _inputs(trace: Trace, leaves: Sequence[Leaf]) -> tuple[list[Node], list[Tensor]]:
    """What a call is traced with: inputs of the graph, and tensors of these, or state itself."""
    nodes = [input_node(leaf.type, f"arg{i}") for i, leaf in enumerate(leaves)]
    tensors: list[Tensor] = []
    for node, leaf in zip(nodes, leaves, strict=True):
        tensor: Any = leaf.state
        if tensor is None:
            tensor = Tensor.from_node(node, leaf.requires_grad)
        if leaf.layout is not None:
            trace.layouts[id(tensor)] = leaf.layout
        tensors.append(tensor)
    return nodes, tensors


def _moved(
    nodes: Sequence[Node], tensors: Sequence[Tensor], leaves: Sequence[Leaf], same: int | None
) -> int | None:
    """The number of the argument that the call has changed in place, which is what it returns."""
    moved = None
    for i, (node, tensor, leaf) in enumerate(zip(nodes, tensors, leaves, strict=True)):
        if leaf.state is None and tensor.node is not node:
            if i != same or leaf.array or leaf.layout is not None or tensor._view is not None:
                raise _AtOnce  # another one is changed, or what looks at one
            moved = same
    return moved


def _view_of(
    function: Callable[..., Any], result: Tensor, tensors: Sequence[Tensor]
) -> tuple[int, tuple[Step, ...], bool] | None:
    """`Outcome.view` of a result."""
    if function is Tensor.detach:  # in a trace a copy, otherwise always a view
        return 0, ((elementwise.stop_gradient, {}),), False
    view = result._view
    if view is None:
        return None
    base = next((i for i, tensor in enumerate(tensors) if tensor is view.base), None)
    if base is not None:
        return base, view.steps, view.attached
    if view.base._value is not None:
        raise _AtOnce  # it looks at state
    return None
