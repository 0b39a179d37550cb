"""The remainder with the sign of the divisor."""

from __future__ import annotations

from typing import Final

from mynn.compiler.codegen.math.builder import Builder, rare_name
from mynn.compiler.codegen.values import Value

# Quotients below the first one are computed here, of divisors from the second one to the third:
# no quotient is off by more than 1 then, and what is left is a normal number.
_USUAL: Final = {
    "f32": (2.0**22, 2.0**-100, 2.0**100),
    "f64": (2.0**51, 2.0**-900, 2.0**900),
}


def mod(b: Builder, x: Value, y: Value) -> Value:
    """x - floor(x / y) * y, as a remainder of the absolute values whose sign is corrected.

    |x| - trunc(|x| / |y|) * |y| is exact in one multiply-add, and so is the sum with |y| where the
    quotient was rounded up to an integer. Error: that of adding y to a negative remainder, 0.5 ulp.
    """
    most, divisor = b.abs(x), b.abs(y)
    count = b.trunc(b.div(most, divisor))
    left = b.fma(b.neg(count), divisor, most)
    left = b.select(b.fcmp("olt", left, 0.0), b.add(left, divisor), left)
    limit, least, largest = _USUAL[b.dtype]
    outside = b.fcmp("une", b.clamp(divisor, least, largest), divisor)
    others = b.either(b.fcmp("uge", count, limit), outside)
    return b.rarely(others, rare_name("mod", b.dtype, b.lanes), [x, y], _with_sign(b, left, x, y))


def rare(b: Builder, x: Value, y: Value, op: str) -> Value:
    """For all other operands: `op`, mod, by the C library, lane by lane."""
    return _with_sign(b, b.abs(b.rem(x, y)), x, y)


def _with_sign(b: Builder, left: Value, x: Value, y: Value) -> Value:
    """The remainder for operands with signs from that of their absolute values."""
    signed = b.copysign(left, x)
    differ = b.icmp("slt", b.ixor(b.bits(x), b.bits(y)), 0)
    return b.select(b.both(b.fcmp("une", left, 0.0), differ), b.add(signed, y), signed)
