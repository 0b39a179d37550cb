"""Records of what works with indices that are values: gathers, scatters; and of random bits."""

from __future__ import annotations

from mynn.compiler.loop_ir.affine import Affine, Index
from mynn.compiler.loop_ir.ir import Const, Op
from mynn.compiler.rules.expressions import Expressions
from mynn.compiler.rules.record import (
    Bernoulli,
    Composite,
    Computation,
    Computed,
    FirstEqual,
    Rule,
    ScatterAdd,
    ScatterAlong,
)
from mynn.core.graph import Node
from mynn.core.primitive import Primitive
from mynn.ops import along, gather, random


def _take_element(e: Expressions, node: Node, index: Index) -> Computation:
    x, picked = node.inputs
    axis = node.params["axis"]
    span = len(picked.shape)
    row = e.integer((yield picked, index[axis : axis + span]))
    place = e.clamp(row, x.shape[axis])
    return (yield x, (*index[:axis], place, *index[axis + span :]))


def _take_along_element(e: Expressions, node: Node, index: Index) -> Computation:
    x, picked = node.inputs
    axis = node.params["axis"]
    place = e.clamp(e.integer((yield picked, index)), x.shape[axis])
    return (yield x, (*index[:axis], place, *index[axis + 1 :]))


def _random_element(e: Expressions, node: Node, index: Index) -> Computation:
    key = node.inputs[0]
    first = yield key, (Affine(0),)
    second = yield key, (Affine(1),)
    count = Affine()
    for i, extent in zip(index, node.shape, strict=True):
        count = count * extent + i
    counter = e.let(Op("cast", (count,), "u32"))
    return e.let(Op("threefry2x32", (first, second, counter, Const(0, "u32")), "u32"))


RULES: dict[Primitive, Rule] = {
    gather.take: Computed(_take_element, repeats=True),
    gather.take_rows: Composite(),
    gather.scatter_add: ScatterAdd(over_nothing=0),
    gather.first_equal: FirstEqual(),
    along.take_along: Computed(_take_along_element, repeats=True),
    along.scatter_along: ScatterAlong(),
    random.random_bits: Computed(_random_element, picks=False),
    random.bernoulli: Bernoulli(),
}
