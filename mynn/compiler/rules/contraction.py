"""Records of contractions: which axes are batch, rows, columns and summed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mynn.compiler.rules.record import Composite, Contraction, ContractionDims, Order, Rule
from mynn.core.graph import Node
from mynn.core.primitive import Primitive
from mynn.ops import contraction, convolution
from mynn.target.storage import ALIGNMENT, is_narrow


def _matmul_dims(node: Node) -> ContractionDims:
    a, b = (x.shape for x in node.inputs)
    return ContractionDims(a[:-2], a[-2:-1], b[-1:], a[-1:])


def _matmul_order(node: Node, orders: Sequence[Order]) -> Order:
    """With few columns the rows are the fastest axis, if the second operand lies along the sum and
    the rows fill vectors: it is computed along its rows then.
    """
    *batch, rows, columns = range(len(node.shape))
    fills_vectors = node.shape[rows] * node.dtype.itemsize >= ALIGNMENT
    narrow = is_narrow(node.shape[columns]) and fills_vectors
    if batch or not narrow or orders[1][-1] != 0:
        return (*batch, rows, columns)
    return (columns, rows)


def _contract_dims(node: Node) -> ContractionDims:
    a, b = (x.shape for x in node.inputs)
    batch, summed = node.params["batch"], node.params["summed"]
    end = len(a) - summed
    return ContractionDims(a[:batch], a[batch:end], b[batch + summed :], a[end:])


def _contract_order(node: Node, orders: Sequence[Order]) -> Order:
    """Products of one row or one column each lie along the batch axis along which both operands do:
    they are computed along it.
    """
    order = tuple(range(len(node.shape)))
    dims = _contract_dims(node)
    if math.prod(dims.rows) > 1 < math.prod(dims.columns):
        return order
    fastest = {
        next((axis for axis in reversed(given) if x.shape[axis] > 1), -1)
        for x, given in zip(node.inputs, orders, strict=True)
    }
    lane = min(fastest)
    if len(fastest) > 1 or not 0 <= lane < len(dims.batch):
        return order
    return (*order[:lane], *order[lane + 1 :], lane)


RULES: dict[Primitive, Rule] = {
    contraction.matmul: Contraction(_matmul_dims, order=_matmul_order, over_nothing=0),
    contraction.contract: Contraction(_contract_dims, order=_contract_order, over_nothing=0),
    convolution.conv: Composite(),
}
