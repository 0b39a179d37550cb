"""Lowering: each group of nodes becomes a kernel of the loop IR.

Expects a fusion and a place for every stored node. Guarantees: kernels that store exactly the
outputs of their groups and touch nothing outside the buffers (a row may be read or written up to
its padding).
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import replace

from mynn.compiler.fusion.groups import Group
from mynn.compiler.graph.zero_padding import operations
from mynn.compiler.loop_ir.ir import Kernel, Statement, buffers_of
from mynn.compiler.lowering.argmax_lines import lower_argmax_lines
from mynn.compiler.lowering.argsort import lower_argsort
from mynn.compiler.lowering.attention.forward import lower_attention
from mynn.compiler.lowering.attention.gradient import lower_attention_gradient
from mynn.compiler.lowering.base import Context
from mynn.compiler.lowering.bernoulli import lower_bernoulli
from mynn.compiler.lowering.concatenate import lower_concatenate
from mynn.compiler.lowering.contraction.schedule import lower_product
from mynn.compiler.lowering.first_equal import lower_first_equal
from mynn.compiler.lowering.map import lower_map
from mynn.compiler.lowering.reduce import lower_reduce
from mynn.compiler.lowering.scan import lower_scan
from mynn.compiler.lowering.scatter import lower_scatter, lower_scatter_along
from mynn.compiler.rules import rule_of
from mynn.compiler.rules.record import (
    ArgMax,
    ArgSort,
    Attention,
    AttentionGradient,
    Bernoulli,
    Concatenation,
    Contraction,
    FirstEqual,
    Reduction,
    Rule,
    Scan,
    ScatterAdd,
    ScatterAlong,
)
from mynn.core.graph import Node

_SCHEDULES: dict[type[Rule], Callable[[Context], list[Statement]]] = {
    Contraction: lower_product,
    Reduction: lower_reduce,
    ArgMax: lower_argmax_lines,
    ArgSort: lower_argsort,
    Scan: lower_scan,
    FirstEqual: lower_first_equal,
    Bernoulli: lower_bernoulli,
    ScatterAdd: lower_scatter,
    ScatterAlong: lower_scatter_along,
    Concatenation: lower_concatenate,
    Attention: lower_attention,
    AttentionGradient: lower_attention_gradient,
}


def lower_group(name: str, context: Context) -> Kernel:
    """The kernel of a group."""
    group = context.group
    anchor = group.anchor
    schedule = lower_map if anchor is None else _SCHEDULES[type(rule_of(anchor))]
    # Schedules leave out the loops of axes of extent 1, not those of 0.
    empty = not any(node.type.size for node in group.outputs)
    body = () if empty else tuple(schedule(context))
    members = [*([anchor] if anchor is not None else []), *group.outputs]
    comment = " ".join(
        dict.fromkeys(f"{node.primitive.name}{list(node.shape)}" for node in members)
    )
    kernel = Kernel(name, body, comment, count_operations(group, context.places))
    reads, writes = buffers_of(kernel)
    return replace(kernel, nbytes=sum(buffer.nbytes for buffer in [*reads, *writes]))


def count_operations(group: Group, stored: Container[Node]) -> int:
    """Operations: 2 for each multiply-add of a product, 1 for each elementwise result.

    And 1 for each value that goes into a reduction.
    """
    anchor = group.anchor
    total = 0
    if anchor is not None:
        rule = rule_of(anchor)
        if isinstance(rule, Contraction):
            total += operations(anchor, stored)
        elif isinstance(rule, Attention):
            total += rule.operations(anchor)
        elif not isinstance(rule, Concatenation):
            total += anchor.inputs[0].type.size
    for node in group.outputs:
        if node is not anchor:
            written_out = isinstance(rule_of(node), Reduction)
            total += (node.inputs[0] if written_out else node).type.size
    return total
