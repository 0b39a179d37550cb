"""Loops: a graph, the body, that is run step after step, each on what the one before has left.

A scan has several values: the last carry and what its steps gave. `scan` is the node that has them
all, as a tuple; `part` is one of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.core.autodiff import OfPart
from mynn.core.batching import batch
from mynn.core.graph import Graph, Node, apply, input_node
from mynn.core.interpreter import evaluate_nodes
from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Tuple, Type
from mynn.errors import ShapeError
from mynn.ops.batches import spread
from mynn.ops.movement import transpose


def stacked(type: Type, length: int) -> Type:
    """The type of so many values of a type, one for each step."""
    return Type((length, *type.shape), type.dtype)


def _infer_scan(
    *types: Type, body: Graph, carry: int, sequences: int, length: int, reverse: bool
) -> Tuple:
    expected = [node.type for node in body.inputs]
    expected[carry : carry + sequences] = [
        stacked(type, length) for type in expected[carry : carry + sequences]
    ]
    if list(types) != expected:
        wanted, given = (", ".join(map(str, some)) for some in (expected, types))
        raise ShapeError(f"scan: the body takes {wanted}, it is given {given}")
    outputs = [node.type for node in body.outputs]
    if outputs[:carry] != expected[:carry]:
        raise ShapeError(
            f"scan: the carry is {', '.join(map(str, expected[:carry]))} before a step, and "
            f"{', '.join(map(str, outputs[:carry]))} after it"
        )
    results = [stacked(type, length) for type in outputs[carry:]]
    return Tuple.of_parts([*outputs[:carry], *results])


def _run_scan(
    *arrays: Array, body: Graph, carry: int, sequences: int, length: int, reverse: bool
) -> tuple[Array, ...]:
    """One step after the other."""
    state = list(arrays[:carry])
    given = arrays[carry : carry + sequences]
    constants = dict(
        zip(body.inputs[carry + sequences :], arrays[carry + sequences :], strict=True)
    )
    results = [np.empty((length, *node.shape), node.dtype) for node in body.outputs[carry:]]
    for step in reversed(range(length)) if reverse else range(length):
        now = [*state, *(np.asarray(array[step]) for array in given)]
        known = constants | dict(zip(body.inputs, now, strict=False))
        state, made = _split(evaluate_nodes(body.outputs, known), carry)
        for result, value in zip(results, made, strict=True):
            result[step] = value
    return (*state, *results)


def _split(values: list[Array], carry: int) -> tuple[list[Array], list[Array]]:
    return values[:carry], values[carry:]


def _no_samples(rng: np.random.Generator) -> list[Sample]:
    """Bodies are not drawn: the tests of scans write their own."""
    return []


def _batch_scan(
    size: int,
    mapped: tuple[bool, ...],
    *inputs: Node,
    body: Graph,
    carry: int,
    sequences: int,
    **params: Any,
) -> Node:
    """The body of all examples; every carry and every result has one for each."""
    given = list(inputs)
    examples: dict[Node, Node] = {}
    for number, node in enumerate(body.inputs):
        if number < carry or mapped[number]:
            examples[node] = input_node(Type((size, *node.shape), node.dtype), node.name)
            if not mapped[number]:
                given[number] = spread(given[number], size)
            elif carry <= number < carry + sequences:
                given[number] = _exchanged(given[number])
    found = batch(body.outputs, examples, size, spread)
    outputs = [found[node] if node in found else spread(node, size) for node in body.outputs]
    new = Graph(tuple([examples.get(node, node) for node in body.inputs]), tuple(outputs))
    return apply(scan, *given, body=new, carry=carry, sequences=sequences, **params)


def _batch_part(size: int, mapped: tuple[bool, ...], several: Node, number: int) -> Node:
    new = apply(part, several, number=number)
    stacked = several.primitive is scan and number >= several.params["carry"]
    return _exchanged(new) if stacked else new


def _exchanged(x: Node) -> Node:
    """The first two axes the other way round: those of examples and of steps."""
    return apply(transpose, x, axes=(1, 0, *range(2, len(x.shape))))


# c, y[t] = body(c, x[t], constants)  for t = 0 .. length - 1, or from the last to the first where
# `reverse`. Inputs: the first carry, `sequences` with an entry for each step, constants. The value
# is (last carry.., y..). The gradient is another scan, the other way round, which its operands make
# (`mynn.tensor.gradients.control`), since it takes more than operators.
scan = Primitive(
    "scan",
    _infer_scan,
    _run_scan,
    lambda g, y, *xs, **params: xs[0].scan_cotangents(g, xs, **params),
    _no_samples,
    batch=_batch_scan,
)


def _infer_part(several: Type, number: int) -> Type:
    if not isinstance(several, Tuple) or not 0 <= number < len(several.parts):
        raise ShapeError(f"part: there is no part {number} of {several}")
    return several.parts[number]


# One of several values.
part = Primitive(
    "part",
    _infer_part,
    lambda several, number: several[number],
    lambda g, y, several, number: (OfPart(number, g),),
    _no_samples,
    batch=_batch_part,
)

PRIMITIVES = (scan, part)
