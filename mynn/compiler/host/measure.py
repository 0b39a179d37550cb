"""What is measured: a function run again and again, kernels that ask for all that a core has."""

from __future__ import annotations

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import (
    Buffer,
    Expr,
    For,
    Function,
    Kernel,
    Let,
    Load,
    Local,
    Op,
    Statement,
    Store,
)
from mynn.compiler.loop_ir.parse import parse_function

REPEAT = "mynn_repeat"


def repeat() -> Function:
    """`mynn_repeat`: calls the function at an address so many times, as a training loop would."""
    return parse_function(f"""
        function {REPEAT}(function: ptr, table: ptr, count: i64) exported:
          let mode: u32 = call flush_denormals()
          var left = count
          while less(0, left):
            call (function)(table)
            left = left + -1
          call set_float_mode(mode)
        """)


def multiply_adds(type: str, lanes: int, vectors: int, rounds: int) -> tuple[Kernel, list[Buffer]]:
    """Fused multiply-adds on so many vectors that do not depend on each other, and its buffers.

    The numbers that it begins with are in the one buffer.
    """
    x = Buffer("x", type, vectors * lanes)
    sums = Buffer("sums", type, vectors * lanes, "register")
    factor = Load(x, Affine.var("i"))
    at = Affine.var("v", lanes) + Affine.var("i")
    more = Op("fma", (Load(sums, at), factor, factor), type)

    def each(buffer: Buffer, value: Expr) -> Statement:
        lane = For("i", lanes, (Store(buffer, at, value),), "vector")
        return For("v", vectors, (lane,), "unroll")

    body = Local(sums), each(sums, factor), For("n", rounds, (each(sums, more),))
    return Kernel("multiply_adds", (*body, each(x, Load(sums, at)))), [x]


def reads(lanes: int, vectors: int, places: int, rounds: int) -> tuple[Kernel, list[Buffer]]:
    """So many rounds, each of which reads neighbouring vectors, from the start again after `places`
    of them, a power of two; and its buffers: what is read, and what comes of it.
    """
    size = vectors * lanes
    data, out = Buffer("data", "i32", places * size), Buffer("out", "i32", size)
    seen = Buffer("seen", "i32", size, "register")
    at = Affine.var("v", lanes) + Affine.var("i")

    def each(buffer: Buffer, value: Expr) -> Statement:
        lane = For("i", lanes, (Store(buffer, at, value),), "vector")
        return For("v", vectors, (lane,), "unroll")

    place = Op("remainder", (Affine.var("n"), Affine(places)), "i64")
    element = Load(data, Affine.var("place", size) + at)
    more = each(seen, Op("bitwise_xor", (Load(seen, at), element), "i32"))
    loop = For("n", rounds, (Let("place", place), more))
    body = Local(seen), each(seen, Load(out, at)), loop
    return Kernel("reads", (*body, each(out, Load(seen, at)))), [data, out]
