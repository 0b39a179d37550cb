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
from mynn.compiler.lowering.base import Context
from mynn.compiler.lowering.contraction.schedule import lower_product
from mynn.compiler.lowering.map import lower_map
from mynn.compiler.lowering.reduce import lower_reduce
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
    Selection,
)
from mynn.core.graph import Node
from mynn.errors import CompileError

Schedule = Callable[[Context], list[Statement]]


def _schedule_of(rule: Rule | None) -> Schedule:
    """The schedule of a kernel around such an anchor."""
    match rule:
        case None:
            return lower_map
        case Contraction():
            return lower_product
        case Reduction():
            return lower_reduce
        case _:
            return _seldom(rule)


def _seldom(rule: Rule) -> Schedule:
    """The same, from a file that is imported now: most programs need none of these."""
    match rule:
        case ArgMax():
            from mynn.compiler.lowering.argmax_lines import lower_argmax_lines as schedule
        case ArgSort():
            from mynn.compiler.lowering.argsort import lower_argsort as schedule
        case Selection():
            from mynn.compiler.lowering.selection import lower_selection as schedule
        case Scan():
            from mynn.compiler.lowering.scan import lower_scan as schedule
        case FirstEqual():
            from mynn.compiler.lowering.first_equal import lower_first_equal as schedule
        case Bernoulli():
            from mynn.compiler.lowering.bernoulli import lower_bernoulli as schedule
        case ScatterAdd():
            from mynn.compiler.lowering.scatter import lower_scatter as schedule
        case ScatterAlong():
            from mynn.compiler.lowering.scatter import lower_scatter_along as schedule
        case Concatenation():
            from mynn.compiler.lowering.concatenate import lower_concatenate as schedule
        case AttentionGradient():
            from mynn.compiler.lowering.attention.gradient import (
                lower_attention_gradient as schedule,
            )
        case Attention():
            from mynn.compiler.lowering.attention.forward import lower_attention as schedule
        case _:
            raise CompileError(f"no kernel is made around what {rule!r} describes")
    return schedule


def lower_group(name: str, context: Context) -> Kernel:
    """The kernel of a group."""
    group = context.group
    anchor = group.anchor
    schedule = _schedule_of(None if anchor is None else rule_of(anchor))
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
