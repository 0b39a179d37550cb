"""How long calls take that are run one by one, as types tell it.

What is compared with the time of making a program is no time that was measured: where a clock
decided from which iteration on a loop is a program, the last bits of its results would be others in
each run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from mynn.core.graph import INPUT, Node
from mynn.core.primitive import Cost
from mynn.ops import contraction, convolution

# Seconds for each primitive, for each byte that it reads or writes, for each product of a sum.
PRIMITIVE, BYTE, PRODUCT = 1.2e-5, 3e-10, 5e-11
_TIMES = {Cost.LIGHT: 1, Cost.MODERATE: 2, Cost.HEAVY: 8}
_SUMS = (contraction.matmul, contraction.contract, convolution.conv)


def work_of(nodes: Iterable[Node]) -> float:
    """The seconds that computing these nodes takes in NumPy, roughly."""
    return math.fsum(_work(node) for node in nodes if node.primitive is not INPUT)


def _work(node: Node) -> float:
    moved = node.type.nbytes + sum(x.type.nbytes for x in node.inputs)
    seconds = PRIMITIVE + BYTE * _TIMES[node.primitive.cost] * moved
    if node.primitive in _SUMS:
        # A matrix product of M x K and K x N: the root of MK KN MN.
        sizes = [x.type.size for x in (node, *node.inputs)]
        seconds += PRODUCT * math.sqrt(math.prod(sizes))
    if node.primitive is convolution.conv:
        # Padded, cut into windows, copied and turned.
        kernel = node.inputs[1].type
        windows = node.type.nbytes // kernel.shape[0] * (kernel.size // kernel.shape[0])
        seconds += 3 * PRIMITIVE + BYTE * windows
    return seconds


def work_of_update(sizes: Iterable[int]) -> float:
    """The same for an update of parameters of so many bytes."""
    return sum(10 * PRIMITIVE + 10 * BYTE * size for size in sizes)
