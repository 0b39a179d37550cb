"""Random bits: Threefry-2x32."""

from __future__ import annotations

from mynn.compiler.codegen.math.builder import Builder
from mynn.compiler.codegen.values import Value
from mynn.ops.threefry import PARITY, ROTATIONS


def threefry2x32(b: Builder, k0: Value, k1: Value, c0: Value, c1: Value) -> Value:
    """The first word; where a function asks for both, LLVM computes them together."""
    return _words(b, k0, k1, c0, c1)[0]


def threefry2x32_second(b: Builder, k0: Value, k1: Value, c0: Value, c1: Value) -> Value:
    """The second word."""
    return _words(b, k0, k1, c0, c1)[1]


def _words(b: Builder, k0: Value, k1: Value, c0: Value, c1: Value) -> tuple[Value, Value]:
    """Threefry-2x32, 20 rounds; `mynn.ops.threefry` has the algorithm."""
    keys = (k0, k1, b.ixor(b.ixor(k0, k1), PARITY))
    x0, x1 = b.iadd(c0, k0), b.iadd(c1, k1)
    for block in range(5):
        for count in ROTATIONS[block % 2]:
            x0 = b.iadd(x0, x1)
            x1 = b.ixor(b.rotl(x1, count), x0)
        x0 = b.iadd(x0, keys[(block + 1) % 3])
        x1 = b.iadd(b.iadd(x1, keys[(block + 2) % 3]), block + 1)
    return x0, x1
