"""The records of all primitives, a file a family: how each of them is lowered."""

from __future__ import annotations

from mynn.compiler.rules import (
    attention,
    contraction,
    control,
    elementwise,
    gather,
    movement,
    reduce,
    scan,
    sorting,
)
from mynn.compiler.rules.record import Composite, Leaf, Rule
from mynn.core.graph import CONSTANT, INPUT, Node
from mynn.core.primitive import Primitive
from mynn.errors import CompileError
from mynn.ops import checks

RULES: dict[Primitive, Rule] = {
    INPUT: Leaf(),
    CONSTANT: Leaf(),
    **elementwise.RULES,
    **movement.RULES,
    **reduce.RULES,
    **scan.RULES,
    **contraction.RULES,
    **gather.RULES,
    **sorting.RULES,
    **attention.RULES,
    **control.RULES,
    checks.outside: Composite(),
}


def rule_of(node: Node) -> Rule:
    """The record of a node's primitive."""
    rule = RULES.get(node.primitive)
    if rule is None:
        raise CompileError(
            f"the compiler has no record of the primitive {node.primitive!r}; add one to "
            "mynn/compiler/rules"
        )
    return rule
