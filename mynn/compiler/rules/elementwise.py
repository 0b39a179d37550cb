"""Records of elementwise primitives: most are the operation of the loop IR that has their name."""

from __future__ import annotations

from mynn.compiler.loop_ir.ir import Const, Expr, Op
from mynn.compiler.loop_ir.walk import expr_type
from mynn.compiler.rules.expressions import Expressions
from mynn.compiler.rules.record import Elementwise, Rule
from mynn.core.graph import Node
from mynn.core.primitive import Primitive
from mynn.ops import elementwise, fused, integers, special

_COMMUTATIVE = (
    elementwise.add,
    elementwise.mul,
    elementwise.equal,
    elementwise.not_equal,
    elementwise.bitwise_and,
    elementwise.bitwise_or,
    elementwise.bitwise_xor,
)


def _with_bits(e: Expressions, node: Node, values: tuple[Expr, ...]) -> tuple[Expr, ...]:
    return (*values, Const(node.params["bits"], node.type.short))


def _signed(e: Expressions, node: Node, values: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """The operands of a multiply-add, with the signs of its form."""
    x, y, z = values
    if node.params["form"] == "z-xy":
        x = e.let(Op("neg", (x,), expr_type(x)))
    if node.params["form"] == "xy-z":
        z = e.let(Op("neg", (z,), expr_type(z)))
    return x, y, z


RULES: dict[Primitive, Rule] = {
    **{
        primitive: Elementwise(primitive.name, commutative=primitive in _COMMUTATIVE)
        for primitive in (*elementwise.PRIMITIVES, *special.PRIMITIVES, *integers.PRIMITIVES)
    },
    elementwise.stop_gradient: Elementwise(None),
    elementwise.shift_right: Elementwise("shift_right", _with_bits),
    fused.fma: Elementwise("fma", _signed),
    fused.mul_unrounded: Elementwise("mul"),
}
