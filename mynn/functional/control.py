"""Loops over steps: `scan` and what is made of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mynn.base.arguments import explained, whole_number
from mynn.base.recording import run_at_once
from mynn.base.structure import flatten, leaf_names, rebuild
from mynn.core.graph import (
    CONSTANT,
    Graph,
    Node,
    input_node,
    next_serial,
    substituted,
    topological,
)
from mynn.core.types import Type
from mynn.errors import ArgumentError, DTypeError, ShapeError, UsageError
from mynn.functional.joining import stack
from mynn.ops import movement
from mynn.ops.checks import outside
from mynn.tensor import Tensor, as_tensor, graph_node
from mynn.tensor.gradients.control import depending, scanned
from mynn.tensor.gradients.grad_mode import grad_enabled
from mynn.trace import tracing
from mynn.trace.trace import Trace

Body = Callable[[Any, Any], tuple[Any, Any]]


@run_at_once
@explained
def scan(
    f: Body, init: Any, xs: Any = None, length: int | None = None, reverse: bool = False
) -> tuple[Any, Any]:
    """A loop that hands a carry from step to step: c, y[t] = f(c, x[t]) for t = 0, 1...

    In a compiled function the body is traced once and its kernels are compiled once, whatever the
    number of steps; the gradient is such a loop too, from the last step to the first. Otherwise f
    is called for each step. What f reads besides its arguments, parameters say, is the same in all
    steps; state that it writes, as random generators, goes on from step to step.

    Args:
        f: takes the carry and the x of a step, returns the next carry, of the same form, shapes and
            dtypes, and the y of the step (None for none).
        init: the carry before the first step: tensors, or nested tuples, lists and dicts of them.
        xs: the same of inputs, whose first axis is that of the steps; None for none.
        length: the number of steps; it may be left out where there are xs.
        reverse: from the last step to the first; ys[t] still belongs to xs[t].

    Returns:
        The last carry, and the ys of all steps, stacked along a new first axis.

    Raises:
        ShapeError, DTypeError: f gives a carry of another form, shape or dtype than it takes; xs of
            different lengths, or of another one than `length`.
        ArgumentError: neither xs nor a length.

    Example:
        >>> import mynn
        >>> mynn.scan(lambda c, x: (c + x, c * x), 0.0, mynn.tensor([1.0, 2.0, 3.0]))
        (tensor(6.), tensor([0., 2., 9.]))

    Source: the interface of `jax.lax.scan`.
    """
    carry = rebuild(init, iter([as_tensor(leaf) for leaf in flatten(init)]))
    sequences = rebuild(xs, iter([as_tensor(leaf) for leaf in flatten(xs)]))
    steps = _number_of_steps(sequences, length)
    if tracing.active() is None and steps:
        return _run(f, carry, sequences, steps, bool(reverse))
    if tracing.active() is None:
        with tracing.tracing() as trace:
            body = Recorder(trace, f, carry, sequences)
        return _empty(body)
    return _record(f, carry, sequences, steps, bool(reverse))


def _number_of_steps(sequences: Any, length: int | None) -> int:
    given = list(zip(leaf_names(sequences, "xs"), flatten(sequences), strict=True))
    for name, x in given:
        if not x.ndim:
            raise ShapeError(
                f"scan: {name} has no axes; the first axis of xs is that of the steps (what is the "
                "same in all steps need not be given, f may use it as it is)"
            )
    steps = None if length is None else whole_number("length", length)
    if steps is not None and steps < 0:
        raise ArgumentError(f"scan: length must not be negative, it is {steps}")
    for name, x in given:
        if steps is not None and x.shape[0] != steps:
            what = f"length is {steps}" if length is not None else f"{given[0][0]} has {steps}"
            raise ShapeError(
                f"scan: {name} of shape {x.shape} has {x.shape[0]} steps along its first axis, "
                f"{what}"
            )
        steps = x.shape[0]
    if steps is None:
        raise ArgumentError("scan: give xs, or the number of steps as length")
    return steps


def _pair(returned: Any, carry: Any) -> tuple[Any, Any]:
    """What a step returned as carry and y, of tensors."""
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise UsageError(
            f"scan: f must return a pair, the carry and the y of the step (None for none); it "
            f"returned {type(returned).__name__}"
            + (f" of {len(returned)}" if isinstance(returned, tuple) else "")
        )
    new, y = returned
    tensors = rebuild(y, iter([as_tensor(leaf) for leaf in flatten(y)]))
    return checked("scan: f", new, carry), tensors


def checked(who: str, new: Any, carry: Any) -> Any:
    """The carry that a step returned, of tensors: it is like the one that the step was given."""
    new = rebuild(new, iter([as_tensor(leaf) for leaf in flatten(new)]))
    if form(new) != form(carry):
        raise ShapeError(
            f"{who} must return a carry of the form that it is given, {form(carry)}; it returned "
            f"{form(new)}"
        )
    for name, old, leaf in zip(
        leaf_names(carry, "carry"), flatten(carry), flatten(new), strict=True
    ):
        step = who.partition(":")[0]
        if old.shape != leaf.shape:
            raise ShapeError(
                f"{step}: the carry {name} has shape {old.shape} before a step and {leaf.shape} "
                "after it; a carry keeps its shape (give it that shape before the first step)"
            )
        if old.dtype != leaf.dtype:
            raise DTypeError(
                f"{step}: the carry {name} is {old.dtype} before a step and {leaf.dtype} after it; "
                f"a carry keeps its dtype (convert one of the two, with .astype({leaf.dtype}))"
            )
    return new


def form(value: Any) -> Any:
    """The nesting of a value."""
    return rebuild(value, itertools.repeat("tensor"))


# -- at once ---------------------------------------------------------------------------------------


def _run(f: Body, carry: Any, sequences: Any, steps: int, reverse: bool) -> tuple[Any, Any]:
    ys: list[Any] = []
    for step in reversed(range(steps)) if reverse else range(steps):
        now = rebuild(sequences, iter([x[step] for x in flatten(sequences)]))
        carry, y = _pair(f(carry, now), carry)
        ys.append(y)
    if reverse:
        ys.reverse()
    leaves = zip(*(list(flatten(y)) for y in ys), strict=True)
    return carry, rebuild(ys[0], iter([stack(leaf) for leaf in leaves]))


def _empty(body: Recorder) -> tuple[Any, Any]:
    """No steps: the carry as it is, and ys of none."""
    types = [(0, *leaf.shape) for leaf in flatten(body.y)], [leaf.dtype for leaf in flatten(body.y)]
    ys = [Tensor(np.zeros(shape, dtype)) for shape, dtype in zip(*types, strict=True)]
    return body.carry, rebuild(body.y, iter(ys))


# -- in a trace ------------------------------------------------------------------------------------


class Recorder:
    """Traces the body of a scan once, as nodes of the trace that is going on.

    - `state`: tensors of the program that the body writes: they become a part of the carry.
    - `asking`: which leaves of the carry have a gradient: those before the first step that have
      one, and those that get one in a step.
    - `inputs`: the nodes of the carry, of state, and of the x of a step; `outputs`: those of the
      next carry and state, of y, and of what checks in the body look at (`checks`).
    """

    def __init__(self, trace: Trace, f: Body, carry: Any, sequences: Any = None) -> None:
        self.trace = trace
        self.carry = carry
        self.state: list[Any] = []
        self.asking = [leaf.requires_grad for leaf in flatten(carry)]
        before = dict(trace.current), len(trace.checks)
        while True:
            self._call(f, carry, sequences)
            current, checks = before
            written = list(changed(trace, current))
            outputs = [trace.current[tensor] for tensor in self.state]
            self.checks = trace.checks[checks:]
            del trace.checks[checks:]
            for tensor in written:
                trace.current[tensor] = current.get(tensor, trace.reads[tensor])
            got = [leaf.requires_grad for leaf in flatten(self.returned[0])]
            asking = [a or b for a, b in zip(self.asking, got, strict=True)]
            if set(written) <= set(self.state) and asking == self.asking:
                break
            self.state, self.asking = written, asking
        count = len(list(flatten(carry)))
        new, self.y = self.returned
        self.moving = self.inputs
        self.outputs = [
            *map(graph_node, flatten(new)),
            *outputs,
            *map(graph_node, flatten(self.y)),
        ]
        self.carried = count + len(self.state)
        late = depending(topological([check.inputs[0] for check in self.checks]), self.inputs)
        same = [check for check in self.checks if check.inputs[0] not in late]
        trace.checks.extend(same)
        self.checks = [check for check in self.checks if check.inputs[0] in late]
        self.outputs += [check.inputs[0] for check in self.checks]

    def _call(self, f: Body, carry: Any, sequences: Any) -> None:
        self.first = next_serial()
        carried = [input_node(leaf.spec) for leaf in flatten(carry)]
        state = [input_node(tensor.spec) for tensor in self.state]
        steps = [input_node(Type(leaf.shape[1:], leaf.dtype)) for leaf in flatten(sequences)]
        self.inputs = [*carried, *state, *steps]
        for tensor, node in zip(self.state, state, strict=True):
            self.trace.current[tensor] = node
        given = (
            rebuild(carry, map(_traced, carried, self.asking)),
            rebuild(sequences, map(_traced, steps, [x.requires_grad for x in flatten(sequences)])),
        )
        self.returned = _pair(f(*given), given[0])

    def closed(self) -> tuple[Graph, list[Node]]:
        """The body as a graph, and the nodes outside that its last inputs stand for."""
        order = topological(self.outputs)
        late = depending(order, self.inputs)
        needed = [x for node in order if node in late for x in node.inputs]
        fixed: dict[Node, Node] = {}
        for node in [*needed, *self.outputs]:
            outer = _repeated(node)
            if node not in late and outer not in fixed and not self._is_known(outer):
                fixed[outer] = input_node(outer.type, outer.name)
        inputs = (*self.inputs, *fixed.values())
        return Graph(inputs, substituted(self.outputs, fixed)), list(fixed)

    def _is_known(self, node: Node) -> bool:
        """Whether a node depends on constants of the body alone; others may want a gradient."""
        leaves = [one for one in topological((node,)) if not one.inputs]
        return all(one.primitive is CONSTANT and one.serial > self.first for one in leaves)


def changed(trace: Trace, before: Mapping[Any, Node]) -> dict[Any, Node]:
    """The tensors from outside whose value is another one than before, with that."""
    return {
        tensor: node
        for tensor, node in trace.current.items()
        if node is not before.get(tensor, trace.reads[tensor])
    }


def _traced(node: Node, asks: bool) -> Tensor:
    return Tensor.from_node(node, asks and grad_enabled() and node.dtype.kind == "f")


def _repeated(node: Node) -> Node:
    """What a node that is the same in all steps repeats: repeats are not stored."""
    while node.primitive in (movement.broadcast_to, movement.reshape):
        node = node.inputs[0]
    return node


def _record(f: Body, carry: Any, sequences: Any, steps: int, reverse: bool) -> tuple[Any, Any]:
    trace = tracing.active()
    assert trace is not None
    step = Recorder(trace, f, carry, sequences)
    body, outer = step.closed()
    given = [*flatten(carry), *step.state]
    operands = [*given, *flatten(sequences), *(Tensor.from_node(node, True) for node in outer)]
    asking = [*step.asking, *(grad_enabled() for _ in step.state)]
    asking += [y.requires_grad for y in flatten(step.y)]
    results = scanned(
        operands,
        [*asking, *(False for _ in step.checks)],
        body=body,
        carry=len(given),
        sequences=len(list(flatten(sequences))),
        length=steps,
        reverse=reverse,
    )
    last, made = results[: len(given)], results[len(given) :]
    count = len(list(flatten(carry)))
    for tensor, value in zip(step.state, last[count:], strict=True):
        trace.write(tensor, graph_node(value))
    checked = made[len(made) - len(step.checks) :]
    for check, value in zip(step.checks, checked, strict=True):
        node = graph_node(value)
        type = outside.infer(node.type)
        trace.checks.append(Node(outside, (node,), check.params, type, source=check.source))
    return rebuild(carry, iter(last[:count])), rebuild(step.y, iter(made))
