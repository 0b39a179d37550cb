"""The records of all primitives, a file a family: how each of them is lowered."""

from __future__ import annotations

import functools

from mynn.base import forks
from mynn.compiler.rules import contraction, elementwise, movement, reduce
from mynn.compiler.rules.record import Composite, Leaf, Rule
from mynn.core.graph import CONSTANT, INPUT, Node
from mynn.core.primitive import Primitive
from mynn.errors import CompileError
from mynn.ops import checks

_USUAL: dict[Primitive, Rule] = {
    INPUT: Leaf(),
    CONSTANT: Leaf(),
    **elementwise.RULES,
    **movement.RULES,
    **reduce.RULES,
    **contraction.RULES,
    checks.outside: Composite(),
}


@functools.cache
def all_rules() -> dict[Primitive, Rule]:
    """The records of all primitives. Families that many programs have nothing of are imported here,
    when a program has.
    """
    with forks.loading:
        from mynn.compiler.rules import attention, control, gather, scan, sorting

    return {
        **_USUAL,
        **scan.RULES,
        **gather.RULES,
        **sorting.RULES,
        **attention.RULES,
        **control.RULES,
    }


def rule_of(node: Node) -> Rule:
    """The record of a node's primitive."""
    rule = _USUAL.get(node.primitive) or all_rules().get(node.primitive)
    if rule is None:
        raise CompileError(
            f"the compiler has no record of the primitive {node.primitive!r}; add one to "
            "mynn/compiler/rules"
        )
    return rule
