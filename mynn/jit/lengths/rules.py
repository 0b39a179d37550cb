"""Rules: where rows lie in the result of a primitive, when row r of it is made of row r of its
inputs alone.

A rule raises `NotAlike` where that is not so, and the primitive has no other; sums over rows are
what `mynn.jit.lengths.joined` does itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mynn.base.dataclass import dataclass
from mynn.core.graph import Node
from mynn.core.primitive import Primitive
from mynn.jit.lengths.axis import NotAlike, Rows, Sizes, agreed, moved, reduced
from mynn.ops import (
    along,
    attention,
    checks,
    contraction,
    convolution,
    gather,
    movement,
    random,
    reduce,
    scan,
    sorting,
    windows,
)


@dataclass(frozen=True)
class Pair:
    """A node of the step on whole batches, and that of the smaller one; where the rows of its
    inputs lie, None for inputs that have none.
    """

    sizes: Sizes
    whole: Node
    fewer: Node
    rows: Sequence[Rows | None]

    def param(self, name: str) -> Any:
        """A parameter, as it is for whole batches."""
        return self.whole.params[name]

    def shape(self, number: int) -> tuple[int, ...]:
        """The shape of an input."""
        return self.whole.inputs[number].shape


Rule = Callable[[Pair], Rows | None]


def elementwise(pair: Pair) -> Rows | None:
    """Element by element."""
    return agreed(pair.rows)


def _reshape(pair: Pair) -> Rows | None:
    (rows,) = pair.rows
    return None if rows is None else pair.sizes.reshaped(rows, pair.shape(0), pair.whole.shape)


def _transpose(pair: Pair) -> Rows | None:
    (rows,) = pair.rows
    return None if rows is None else moved(rows, pair.param("axes"))


def _broadcast(pair: Pair) -> Rows | None:
    (rows,) = pair.rows
    return rows or pair.sizes.repeated(pair.whole.shape, pair.fewer.shape)


def _iota(pair: Pair) -> Rows | None:
    rows = pair.sizes.repeated(pair.whole.shape, pair.fewer.shape)
    if rows is not None and rows.axis == pair.param("axis"):
        return pair.sizes.first_axis(pair.whole.shape, pair.fewer.shape)
    return rows


def _in_order(pair: Pair) -> Rows | None:
    """What is drawn by its place in a row-major order: leading rows are drawn alike."""
    rows = pair.sizes.first_axis(pair.whole.shape, pair.fewer.shape)
    if rows is not None and rows.axis:
        raise NotAlike("numbers are drawn for rows that do not lie along the first axis")
    return rows


def _whole_axis(axis: int, part: Node, extent: int) -> bool:
    """Whether a slice takes the whole axis."""
    params = part.params
    taken = params["starts"][axis], params["stops"][axis], params["steps"][axis]
    return bool(taken == (0, extent, 1))


def _slice(pair: Pair) -> Rows | None:
    rows = agreed(pair.rows)
    if rows is None:
        if pair.whole.params != pair.fewer.params:
            raise NotAlike("a slice depends on the size of the batch")
        return None
    extents = pair.whole.inputs[0].shape[rows.axis], pair.fewer.inputs[0].shape[rows.axis]
    parts = zip((pair.whole, pair.fewer), extents, strict=True)
    if not all(_whole_axis(rows.axis, part, extent) for part, extent in parts):
        raise NotAlike("a slice takes some rows alone")
    for name in ("starts", "stops", "steps"):
        first, second = list(pair.whole.params[name]), list(pair.fewer.params[name])
        first[rows.axis] = second[rows.axis] = 0
        if first != second:
            raise NotAlike("a slice depends on the size of the batch")
    return rows


def _apart_from(name: str) -> Rule:
    """The axis or the axes that the primitive works along hold no rows."""

    def rule(pair: Pair) -> Rows | None:
        rows, axes = agreed(pair.rows), pair.param(name)
        if rows is not None and rows.axis in ((axes,) if isinstance(axes, int) else axes):
            raise NotAlike(f"{pair.whole.primitive} runs along the rows")
        return rows

    return rule


def _pad(pair: Pair) -> Rows | None:
    (rows,) = pair.rows
    if rows is not None and any(pair.param("widths")[rows.axis]):
        raise NotAlike("rows are padded")
    return rows


def _without(pair: Pair) -> Rows | None:
    """The axes, or the axis, are gone."""
    (rows,) = pair.rows
    axes = pair.whole.params.get("axes", (pair.whole.params.get("axis"),))
    if rows is not None and rows.axis in axes:
        raise NotAlike(f"{pair.whole.primitive} runs along the rows")
    return None if rows is None else reduced(rows, axes)


def summed_axes(node: Node) -> tuple[range, range, int]:
    """Of a product: the summed axes of both operands, and how many batch axes there are."""
    first, second = (len(x.shape) for x in node.inputs)
    if node.primitive is contraction.matmul:
        return range(first - 1, first), range(second - 2, second - 1), second - 2
    batch, summed = node.params["batch"], node.params["summed"]
    return range(first - summed, first), range(batch, batch + summed), batch


def _product(pair: Pair) -> Rows | None:
    """Rows among the batch axes of both, or among the kept ones of one operand."""
    left, right = pair.rows
    summed, others, batch = summed_axes(pair.whole)
    if left is not None and right is not None:
        if max(left.axis, right.axis) >= batch:
            raise NotAlike("a product combines each row with each")
        return agreed(pair.rows)
    if left is not None:
        return None if left.axis in summed else left
    if right is None or right.axis in others:
        return None
    kept = len(pair.shape(0)) - len(summed) - batch
    return right if right.axis < batch else right.along(right.axis - len(others) + kept)


def _conv(pair: Pair) -> Rows | None:
    x, w = pair.rows
    if w is not None or (x is not None and x.axis):
        raise NotAlike("a convolution has rows along another axis than its first")
    return x


def _take(pair: Pair) -> Rows | None:
    x, index = pair.rows
    axis, span = pair.whole.params.get("axis", 0), len(pair.shape(1))
    if index is not None and x is None:
        return index.along(axis + index.axis)
    if x is None:
        return None
    if index is not None or x.axis == axis:
        raise NotAlike("rows are picked by their numbers")
    return x if x.axis < axis else x.along(x.axis - 1 + span)


def _scatter(pair: Pair) -> Rows | None:
    """Without rows among the indices: those are added up."""
    updates, index = pair.rows
    axis, span = pair.param("axis"), len(pair.shape(1))
    if index is not None or (updates is not None and axis <= updates.axis < axis + span):
        raise NotAlike("rows are added at places that do not depend on them")
    if updates is None or updates.axis < axis:
        return updates
    return updates.along(updates.axis - span + 1)


def _take_along(pair: Pair) -> Rows | None:
    x, index = pair.rows
    if x is None:
        return index
    if x.axis == pair.param("axis"):
        raise NotAlike("rows are picked by their numbers")
    return agreed(pair.rows)


def _first_axis(pair: Pair) -> Rows | None:
    rows = agreed(pair.rows)
    if rows is not None and rows.axis:
        raise NotAlike(f"{pair.whole.primitive} has rows along another axis than its first")
    return rows


RULES: dict[Primitive, Rule] = {
    movement.reshape: _reshape,
    movement.transpose: _transpose,
    movement.broadcast_to: _broadcast,
    movement.slice_: _slice,
    movement.update_slice: _slice,
    movement.pad: _pad,
    movement.flip: _apart_from("axes"),
    movement.concatenate: _apart_from("axis"),
    movement.iota: _iota,
    windows.windows: _apart_from("axes"),
    **dict.fromkeys((reduce.sum, reduce.prod, reduce.max, reduce.min, reduce.argmax), _without),
    **dict.fromkeys((scan.cumsum, scan.cumprod, scan.cummax, scan.cummin), _apart_from("axis")),
    **dict.fromkeys((sorting.argsort, sorting.kth, sorting.top), _apart_from("axis")),
    along.take_along: _take_along,
    along.scatter_along: _apart_from("axis"),
    **dict.fromkeys((contraction.matmul, contraction.contract), _product),
    convolution.conv: _conv,
    gather.take: _take,
    gather.take_rows: _take,
    gather.scatter_add: _scatter,
    attention.attention: _first_axis,
    attention.gradient: _first_axis,
    random.random_bits: _in_order,
    random.bernoulli: _in_order,
    checks.outside: lambda pair: None,  # rows beyond the last one are like it
}
# Parameters that say how large something is, and so differ with the batch.
EXTENTS = {
    movement.reshape: "shape",
    movement.broadcast_to: "shape",
    movement.iota: "shape",
    random.random_bits: "shape",
    random.bernoulli: "size",
    movement.slice_: "stops",
    movement.update_slice: "stops",
}
