"""Branches, and loops that run as long as a condition holds: graphs in a graph, like scans.

Both have several values (`mynn.ops.control.part`). Gradients are made by their operands
(`mynn.tensor.gradients.branches`), since they take more than operators.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mynn.core.batching import batch
from mynn.core.graph import Graph, Node, apply, constant, input_node, substituted
from mynn.core.interpreter import evaluate_nodes
from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Tuple, Type
from mynn.errors import ShapeError, UsageError
from mynn.ops import elementwise, movement, reduce
from mynn.ops.batches import shaped, spread
from mynn.ops.control import part

TRUTH = Type((), np.dtype(bool))


def _no_samples(rng: np.random.Generator) -> list[Sample]:
    """Bodies are not drawn: the tests of branches write their own."""
    return []


def _listed(types: Iterable[Type]) -> str:
    return ", ".join(map(str, types)) or "nothing"


def _values(body: Graph, arrays: Iterable[Array]) -> list[Array]:
    """The outputs of a body, in memory of their own."""
    found = evaluate_nodes(body.outputs, dict(zip(body.inputs, arrays, strict=True)))
    return [np.array(value) for value in found]


def _require(name: str, body: Graph, types: Sequence[Type]) -> None:
    wanted = [node.type for node in body.inputs]
    if list(types) != wanted:
        raise ShapeError(f"{name}: a body takes {_listed(wanted)}, it is given {_listed(types)}")


# -- branches --------------------------------------------------------------------------------------


def _infer_cond(predicate: Type, *types: Type, true: Graph, false: Graph) -> Tuple:
    if predicate != TRUTH:
        raise ShapeError(f"cond: the predicate must be a single truth value, it is {predicate}")
    _require("cond", true, types)
    _require("cond", false, types)
    results = [[node.type for node in body.outputs] for body in (true, false)]
    if results[0] != results[1]:
        raise ShapeError(
            f"cond: one branch gives {_listed(results[0])}, the other {_listed(results[1])}"
        )
    return Tuple.of_parts(results[0])


def _run_cond(predicate: Array, *arrays: Array, true: Graph, false: Graph) -> tuple[Array, ...]:
    return tuple(_values(true if predicate else false, arrays))


def _batched(body: Graph, size: int, mapped: Sequence[bool]) -> tuple[list[Node], list[Node]]:
    """Inputs and outputs of a body for many examples; every output has one for each."""
    examples = {
        node: input_node(Type((size, *node.shape), node.dtype), node.name)
        for node, there in zip(body.inputs, mapped, strict=True)
        if there
    }
    found = batch(body.outputs, examples, size, spread) if examples else {}
    outputs = [found[node] if node in found else spread(node, size) for node in body.outputs]
    return [examples.get(node, node) for node in body.inputs], outputs


def _chosen(choices: Node, yes: Node, no: Node) -> Node:
    """`yes` where the choice of an example [N] holds, otherwise `no`; both [N, ..]."""
    column = shaped(choices, *choices.shape, *(1,) * (len(yes.shape) - 1))
    wide = apply(movement.broadcast_to, column, shape=yes.shape)
    return apply(elementwise.where, wide, yes, no)


def _together(nodes: Sequence[Node]) -> Node:
    """One node with several values: a branch that is always taken; no compiled program has it."""
    inputs = tuple([input_node(node.type) for node in nodes])
    body = Graph(inputs, inputs)
    return apply(cond, constant(np.asarray(True)), *nodes, true=body, false=body)


def _batch_cond(
    size: int, mapped: tuple[bool, ...], predicate: Node, *inputs: Node, true: Graph, false: Graph
) -> Node:
    """One predicate for all examples: one branch for all. One for each: both, and a choice."""
    sides = [_batched(body, size, mapped[1:]) for body in (true, false)]
    if not mapped[0]:
        bodies = [Graph(tuple(given), tuple(made)) for given, made in sides]
        return apply(cond, predicate, *inputs, true=bodies[0], false=bodies[1])
    both = [substituted(made, dict(zip(given, inputs, strict=True))) for given, made in sides]
    return _together([_chosen(predicate, yes, no) for yes, no in zip(*both, strict=True)])


# y.. = true(x..) where the predicate holds, otherwise false(x..). Inputs: the predicate, then what
# both bodies take.
cond = Primitive(
    "cond",
    _infer_cond,
    _run_cond,
    lambda g, y, *xs, **params: xs[0].cond_cotangents(g, xs, **params),
    _no_samples,
    batch=_batch_cond,
)


# -- loops -----------------------------------------------------------------------------------------


def _infer_while(*types: Type, body: Graph, carry: int) -> Tuple:
    _require("while_loop", body, types)
    outputs = [node.type for node in body.outputs]
    if outputs != list(types[:carry]):
        raise ShapeError(
            f"while_loop: the carry is {_listed(types[:carry])} before a round, and "
            f"{_listed(outputs)} after it"
        )
    if types[:1] != (TRUTH,):
        raise ShapeError("while_loop: the carry begins with a single truth value")
    return Tuple.of_parts(outputs)


def _run_while(*arrays: Array, body: Graph, carry: int) -> tuple[Array, ...]:
    state, constants = [np.array(array) for array in arrays[:carry]], arrays[carry:]
    while state[0]:
        state = _values(body, (*state, *constants))
    return tuple(state)


def _batch_while(
    size: int, mapped: tuple[bool, ...], *inputs: Node, body: Graph, carry: int
) -> Node:
    """Where all examples go on equally long, their body. Otherwise rounds are run while any of them
    goes on, and those that do not keep what they have: whether each does is a further carry.
    """
    each = list(mapped)
    while True:  # a carry is one of each example where what comes out of the body is
        more = [a or b for a, b in zip(each, _depending(body, each), strict=False)]
        more = [True] * carry if more[0] else more
        if more == each[:carry]:
            break
        each[:carry] = more
    first = [
        spread(x, size) if now and not before else x
        for x, before, now in zip(inputs, mapped, each, strict=True)
    ]
    given, made = _batched(body, size, each)
    made = [y if now else old for y, old, now in zip(made, body.outputs, each, strict=False)]
    if each[0]:
        some, going = input_node(TRUTH), given[0]
        new = [_chosen(going, y, x) for y, x in zip(made[1:], given[1:carry], strict=True)]
        left = apply(elementwise.bitwise_and, going, made[0])
        given, made, first = [some, *given], [_any(left), left, *new], [_any(first[0]), *first]
    count = len(made)
    last = apply(while_loop, *first, body=Graph(tuple(given), tuple(made)), carry=count)
    parts = [apply(part, last, number=number) for number in range(count - carry, count)]
    return _together([x if now else spread(x, size) for x, now in zip(parts, each, strict=False)])


def _depending(body: Graph, there: list[bool]) -> list[bool]:
    """Which outputs of a body depend on inputs that are `there`."""
    found = {node for node, one in zip(body.inputs, there, strict=True) if one}
    for node in body.nodes():
        if any(x in found for x in node.inputs):
            found.add(node)
    return [node in found for node in body.outputs]


def _any(truths: Node) -> Node:
    """Whether one of several truth values [N] holds."""
    numbers = apply(elementwise.cast, truths, dtype=np.dtype(np.int32))
    most = apply(reduce.max, numbers, axes=(0,))
    return apply(elementwise.cast, most, dtype=np.dtype(bool))


# c.. = body(c.., constants..) as long as the first c, a truth value, holds. Inputs: the first
# carry, constants.
while_loop = Primitive(
    "while_loop",
    _infer_while,
    _run_while,
    lambda g, y, *xs, **params: xs[0].while_cotangents(g, xs, **params),
    _no_samples,
    batch=_batch_while,
)


# -- what a gradient through such a loop would be --------------------------------------------------

_NO_GRADIENT = (
    "while_loop: its gradient cannot be computed backwards, since the number of rounds is not "
    "known before, and what they compute would have to be kept; give it max_steps, the most rounds "
    "that it may take, or write the loop with mynn.scan; mynn.func.jvp goes through it forwards"
)


def _floats(types: Iterable[Type]) -> list[Type]:
    return [type for type in types if type.dtype.kind == "f"]


def _infer_pullback(*types: Type, body: Graph, carry: int) -> Tuple:
    return Tuple.of_parts(_floats(node.type for node in body.inputs))


def _run_pullback(*arrays: Array, body: Graph, carry: int) -> tuple[Array, ...]:
    seeds = arrays[: len(_floats(node.type for node in body.outputs))]
    if any(np.asarray(seed).any() for seed in seeds):
        raise UsageError(_NO_GRADIENT)
    return tuple([np.zeros(x.shape, x.dtype) for x in _floats(node.type for node in body.inputs)])


def _refuse(*nodes: Node, body: Graph, carry: int) -> Node:
    raise UsageError(_NO_GRADIENT)


# The cotangents of the floats among the operands of a while_loop. Inputs: those of the floats of
# its last carry, then its operands. It stands for a linear function that is computed for zeros
# alone; what it is differentiated for is its transpose, the loop with tangents
# (`mynn.tensor.gradients.branches`): that is how derivatives in a direction are made.
while_pullback = Primitive(
    "while_pullback",
    _infer_pullback,
    _run_pullback,
    lambda g, y, *xs, **params: xs[-1].while_tangents(g, xs, **params),
    _no_samples,
    _refuse,
)

PRIMITIVES = (cond, while_loop, while_pullback)
