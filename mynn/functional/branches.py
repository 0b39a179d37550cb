"""Branches and loops that depend on values: `cond`, `while_loop`, and the one that counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from mynn.base.arguments import explained, shown, whole_number
from mynn.base.dataclass import dataclass
from mynn.base.recording import run_at_once
from mynn.base.structure import flatten, leaf_names, rebuild
from mynn.core.graph import (
    INPUT,
    Graph,
    Node,
    apply,
    constant,
    input_node,
    next_serial,
    substituted,
    topological,
)
from mynn.errors import ArgumentError, ArgumentTypeError, DTypeError, ShapeError, UsageError
from mynn.functional.control import Recorder, changed, checked, form, scan
from mynn.ops import branches, elementwise, movement
from mynn.ops.checks import outside
from mynn.tensor import Tensor, as_tensor, graph_node
from mynn.tensor.gradients.control import several
from mynn.tensor.gradients.grad_mode import grad_enabled
from mynn.trace import tracing
from mynn.trace.trace import Trace


@run_at_once
@explained
def cond(
    pred: Any,
    true_fn: Callable[..., Any],
    false_fn: Callable[..., Any],
    operands: Sequence[Any] = (),
) -> Any:
    """One of two functions, by a truth value: true_fn(*operands) if pred, else false_fn(*operands).

    In a compiled function both are traced once, and the program runs the one that is asked for; its
    gradient is such a branch too, which computes once more what the gradient needs. Under `vmap`
    with a truth value for each example both are computed, and one of the results is chosen. What
    the functions read besides the operands, parameters say, has a gradient as well; state that one
    of them writes, as random generators, is as that one leaves it.

    Args:
        pred: a truth value, or a tensor of one. Python's own are looked at when a function is
            traced: the other function is not called.
        true_fn, false_fn: take the operands, return tensors of the same form, shapes and dtypes.
        operands: a tuple of what they take: tensors, or nested tuples, lists and dicts of them.

    Returns:
        What the one function returned.

    Raises:
        DTypeError, ShapeError: pred is no single truth value; the functions return results that
            differ in their form, shape or dtype.
        UsageError: `backward()` within one of them.

    Example:
        >>> import mynn
        >>> x = mynn.tensor([1.0, -3.0])
        >>> mynn.cond(x.sum() > 0, lambda x: x, lambda x: -x, (x,))
        tensor([-1.,  3.])

    Source: the interface of `torch.cond`.
    """
    if not isinstance(operands, tuple | list):
        raise ArgumentTypeError(
            f"cond: operands must be a tuple of what the functions take, it is {shown(operands)}; "
            "write (x,) for one"
        )
    truth = _truth("cond: pred", pred)
    given = [rebuild(x, iter([as_tensor(leaf) for leaf in flatten(x)])) for x in operands]
    trace = tracing.active()
    if isinstance(truth, bool) or trace is None:
        returned = (true_fn if truth else false_fn)(*given)
        return rebuild(returned, iter([as_tensor(leaf) for leaf in flatten(returned)]))
    sides = [_Side.of(trace, function, given) for function in (true_fn, false_fn)]
    return _record(trace, truth, sides)


def _truth(what: str, pred: Any) -> Any:
    """A Python bool where that is known without a tensor, otherwise a tensor without axes."""
    if isinstance(pred, bool | np.bool_):
        return bool(pred)
    x = as_tensor(pred)
    if x.dtype != bool:
        raise DTypeError(f"{what} must be a truth value, it is {x.spec}; compare it, x > 0")
    if x.spec.size != 1:
        raise ShapeError(
            f"{what} must be one truth value, it is {x.spec}; use .all() or .any(), or where() to "
            "choose element by element"
        )
    return x.reshape(())


# -- branches in a trace ---------------------------------------------------------------------------


@dataclass
class _Side:
    """What a function did in a trace: its results, the state that it wrote, its checks."""

    first: int
    returned: Any
    written: dict[Any, Node]
    checks: list[Node]

    @staticmethod
    def of(trace: Trace, function: Callable[..., Any], operands: Sequence[Any]) -> _Side:
        """Call it; the trace is as it was before."""
        before, count, gradients = dict(trace.current), len(trace.checks), dict(trace.gradients)
        first = next_serial()
        returned = function(*operands)
        returned = rebuild(returned, iter([as_tensor(leaf) for leaf in flatten(returned)]))
        if trace.gradients != gradients:
            raise UsageError(
                "cond: backward() within one of the functions: a gradient of one branch alone has "
                "no place to go; return the loss, and call backward() behind cond"
            )
        for leaf in flatten(returned):
            graph_node(leaf)  # a tensor from outside is read
        written = changed(trace, before)
        checks = trace.checks[count:]
        del trace.checks[count:]
        for tensor in written:
            trace.current[tensor] = before.get(tensor, trace.reads[tensor])
        return _Side(first, returned, written, checks)


def _record(trace: Trace, truth: Tensor, sides: Sequence[_Side]) -> Any:
    _require_alike(*sides)
    state = list(dict.fromkeys(tensor for side in sides for tensor in side.written))
    checks = [check for side in sides for check in side.checks]
    outputs: list[list[Node]] = []
    for side in sides:
        made = [graph_node(leaf) for leaf in flatten(side.returned)]
        made += [side.written.get(tensor) or trace.read(tensor) for tensor in state]
        own = set(side.checks)
        outputs.append([*made, *(x.inputs[0] if x in own else _harmless(x) for x in checks)])
    firsts = [side.first for side in sides]
    outer = _outer(outputs, firsts)
    bodies = [_closed(made, outer) for made in outputs]
    leaves = [list(flatten(side.returned)) for side in sides]
    asking = [a.requires_grad or b.requires_grad for a, b in zip(*leaves, strict=True)]
    asking += [grad_enabled()] * (len(outputs[0]) - len(asking))
    operands = [truth, *(Tensor.from_node(node, True) for node in outer)]
    results = several(branches.cond, operands, asking, true=bodies[0], false=bodies[1])
    count = len(leaves[0])
    for tensor, value in zip(state, results[count:], strict=False):
        trace.write(tensor, graph_node(value))
    for check, value in zip(checks, results[count + len(state) :], strict=True):
        trace.checks.append(_check(check, graph_node(value)))
    return rebuild(sides[0].returned, iter(results[:count]))


def _require_alike(true: _Side, false: _Side) -> None:
    """Raise where two functions returned results of different kinds."""
    forms = form(true.returned), form(false.returned)
    if forms[0] != forms[1]:
        raise ShapeError(
            f"cond: both functions must return results of one form; true_fn returned {forms[0]}, "
            f"false_fn {forms[1]}"
        )
    names = leaf_names(true.returned, "result")
    for name, a, b in zip(names, flatten(true.returned), flatten(false.returned), strict=True):
        if a.shape != b.shape:
            raise ShapeError(
                f"cond: the {name} has shape {a.shape} where true_fn returned it, and {b.shape} "
                "from false_fn; both must return the same shapes"
            )
        if a.dtype != b.dtype:
            raise DTypeError(
                f"cond: the {name} is {a.dtype} where true_fn returned it, and {b.dtype} from "
                f"false_fn; convert one of the two, with .astype({a.dtype})"
            )


def _outer(outputs: Sequence[Sequence[Node]], firsts: Sequence[int]) -> list[Node]:
    """The nodes from outside that the functions use, each once."""
    found: dict[Node, None] = {}
    for made, first in zip(outputs, firsts, strict=True):
        older = partial(_is_older, first)
        found |= dict.fromkeys(filter(older, topological(made, stop=older)))
    return list(found)


def _is_older(first: int, node: Node) -> bool:
    """Whether a node comes from outside of a function, whose nodes have at least this number."""
    return node.serial < first or node.primitive is INPUT


def _closed(outputs: Sequence[Node], outer: Sequence[Node]) -> Graph:
    known = {node: input_node(node.type, node.name) for node in outer}
    return Graph(tuple(known.values()), substituted(outputs, known))


def _harmless(check: Node) -> Node:
    """A value that a check finds nothing wrong with, of the type of the one that it looks at."""
    type, low, high = check.inputs[0].type, check.params["low"], check.params["high"]
    value = constant(np.full((1,) * len(type.shape), max(low, min(0, high)), type.dtype))
    return apply(movement.broadcast_to, value, shape=type.shape) if type.shape else value


def _check(check: Node, value: Node) -> Node:
    """A check of another value."""
    return Node(outside, (value,), check.params, outside.infer(value.type), source=check.source)


# -- loops -----------------------------------------------------------------------------------------


@run_at_once
@explained
def while_loop(
    cond_fn: Callable[..., Any],
    body_fn: Callable[..., Any],
    carried_inputs: Sequence[Any],
    *,
    max_steps: int | None = None,
) -> Any:
    """A loop that goes on as long as a condition holds: while cond_fn(*c): c = body_fn(*c).

    In a compiled function both are traced once, and their kernels are compiled once. Derivatives in
    a direction (`mynn.func.jvp`) go through the loop; gradients cannot be computed backwards in a
    compiled function, unless `max_steps` is given: then the loop is a `scan` of so many steps, of
    which those behind the last round do nothing. Under `vmap` rounds are run while any example goes
    on, and those that have ended keep what they have. State that the functions write, as random
    generators, goes on from round to round. A compiled loop whose condition stays true does not
    come back, not for Ctrl-C either.

    Args:
        cond_fn: takes the carried values, returns a truth value.
        body_fn: takes them, returns a tuple of the next ones, of the same form, shapes and dtypes.
        carried_inputs: a tuple of those before the first round: tensors, or nested tuples, lists
            and dicts of them.
        max_steps: the most rounds that are run: where the condition holds after them, the values
            are those of then.

    Returns:
        The carried values, for which the condition does not hold.

    Raises:
        ShapeError, DTypeError: body_fn gives values of another form, shape or dtype than it takes;
            cond_fn no single truth value.
        UsageError: a gradient through the loop, in a compiled function, without max_steps.

    Example:
        >>> import mynn
        >>> halve = lambda x, n: (x / 2, n + 1)
        >>> mynn.while_loop(lambda x, n: x > 1, halve, (mynn.tensor(10.0), 0))
        (tensor(0.6250), tensor(4))

    Source: the interface of `torch.while_loop`.
    """
    if not isinstance(carried_inputs, tuple | list):
        raise ArgumentTypeError(
            f"while_loop: carried_inputs must be a tuple, it is {shown(carried_inputs)}; write "
            "(x,) for one"
        )
    steps = None if max_steps is None else whole_number("max_steps", max_steps)
    if steps is not None and steps < 0:
        raise ArgumentError(f"while_loop: max_steps must not be negative, it is {steps}")
    whole = tuple(carried_inputs)
    carry = rebuild(whole, iter([as_tensor(leaf) for leaf in flatten(whole)]))

    def goes_on(values: Any) -> Any:
        return _truth("while_loop: what cond_fn returns", cond_fn(*values))

    def following(values: Any) -> Any:
        return checked("while_loop: body_fn", body_fn(*values), values)

    trace = tracing.active()
    if trace is None:
        count = 0
        while (steps is None or count < steps) and bool(goes_on(carry)):
            carry, count = following(carry), count + 1
        return carry
    alive = as_tensor(goes_on(carry))
    if steps is not None:

        def step(now: Any, _: Any) -> Any:
            def round(values: Any) -> Any:
                new = following(values)
                return as_tensor(goes_on(new)), new

            return cond(now[0], round, lambda values: (now[0], values), (now[1],)), None

        return scan(step, (alive, carry), length=steps)[0][1]
    recorded = Recorder(trace, lambda c, _: ((new := following(c)), as_tensor(goes_on(new))), carry)
    return _loop(trace, alive, carry, recorded)


def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init_val: Any) -> Any:
    """c = f(i, c) for i = lower .. upper - 1, of an initial c.

    Where both ends are known when a function is traced it is a `scan`, with gradients. An end that
    is an argument of a compiled function makes a `while_loop` of it: one program for all numbers of
    rounds, which gives the bits that a program for that number gives.

    Args:
        lower, upper: whole numbers; no round where upper is not above lower.
        body_fun: takes the number of the round (int64) and the carry, returns the next carry.
        init_val: the carry before the first round.

    Example:
        >>> import mynn
        >>> mynn.fori_loop(0, 5, lambda i, c: c + i, 0)
        tensor(10)
        >>> count = mynn.compile(lambda n: mynn.fori_loop(0, n, lambda i, c: c + i, 0))
        >>> int(count(5)), int(count(101))
        (10, 5050)

    Source: the interface of `jax.lax.fori_loop`.
    """
    ends = [_end("lower", lower), _end("upper", upper)]
    if all(isinstance(end, int) for end in ends):
        first, end = ends
        numbers = np.arange(first, max(first, end), dtype=np.int64)
        return scan(lambda c, i: (body_fun(i, c), None), init_val, numbers)[0]
    start, stop = map(as_tensor, ends)
    carried = start.astype(np.int64), init_val
    return while_loop(lambda i, c: i < stop, lambda i, c: (i + 1, body_fun(i, c)), carried)[1]


def _end(name: str, value: Any) -> Any:
    """A whole number; a tensor without axes where it is known in the program alone."""
    if not isinstance(value, Tensor) or tracing.active() is None:
        return whole_number(name, value.item() if isinstance(value, Tensor) else value)
    if value.dtype.kind not in "iu":
        raise DTypeError(f"fori_loop: {name} must be a whole number, it is {value.spec}")
    if value.spec.size != 1:
        raise ShapeError(f"fori_loop: {name} must be a single number, it is {value.spec}")
    return value.reshape(())


def _loop(trace: Trace, alive: Tensor, carry: Any, recorded: Recorder) -> Any:
    body, outer = recorded.closed()
    given = [*flatten(carry), *recorded.state]
    count = len(given)
    going, seen = (
        input_node(branches.TRUTH),
        [input_node(c.inputs[0].type) for c in recorded.checks],
    )
    made, again = body.outputs[:count], body.outputs[count]
    kept: list[Node] = []
    never = constant(np.asarray(False))
    for check, old, value in zip(recorded.checks, seen, body.outputs[count + 1 :], strict=True):
        # What a check has found stays, and ends the loop: it is looked at behind it.
        failed = _check(check, value)
        shape = value.shape
        kept.append(apply(elementwise.where, _spread(failed, shape), value, old))
        if not check.params["warns"]:
            fine = apply(elementwise.equal, failed, never)
            again = apply(elementwise.bitwise_and, again, fine)
    inner = Graph((going, *body.inputs[:count], *seen, *body.inputs[count:]), (again, *made, *kept))
    start = [Tensor.from_node(_harmless(check)) for check in recorded.checks]
    operands = [alive, *given, *start, *(Tensor.from_node(node, True) for node in outer)]
    asking = [False, *recorded.asking, *(grad_enabled() for _ in recorded.state)]
    asking += [False for _ in seen]
    size = 1 + count + len(seen)
    results = several(branches.while_loop, operands, asking, body=inner, carry=size)[1:]
    own = count - len(recorded.state)
    for tensor, value in zip(recorded.state, results[own:count], strict=True):
        trace.write(tensor, graph_node(value))
    for check, value in zip(recorded.checks, results[count:], strict=True):
        trace.checks.append(_check(check, graph_node(value)))
    return rebuild(carry, iter(results[:own]))


def _spread(truth: Node, shape: Any) -> Node:
    if not shape:
        return truth
    one = apply(movement.reshape, truth, shape=(1,) * len(shape))
    return apply(movement.broadcast_to, one, shape=shape)
